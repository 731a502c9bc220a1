"""How far can a restorer be trusted? Its distortion, consistency, robustness, Lipschitz bound and diversity.

  python -m prt_jax.audit --restorer=imdn --checkpoint=FILE --scale=4 --input=DIR --output=DIR

writes report.json and report.html. In Python, audit(restore, y) takes a function of your own.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.errors import UserError
from prt_jax.image_pairs import Pair
from prt_jax.lipschitz import jacobian_lower_bound
from prt_jax.measurements import attack, psnr_y, restore_all
from prt_jax.metrics import consistency_psnr, per_pixel_std
from prt_jax.metrics.joint import joint_frechet_distance
from prt_jax.precision import MEASURING, in_float32
from prt_jax.restorers.restorer import Restorer, as_restorer

PATCH = 8  # pixels; side of the joint index's patches
ALPHAS = tuple(alpha / 255 for alpha in (1, 2, 4, 8, 16, 32))  # paper A, Fig. 7


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Attributes:
  alphas: sup-norm bounds of the attacks, pixels in [0, 1].
  num_steps: of I-FGSM.
  num_seeds: draws of Z of a stochastic restorer, in attacks and diversity (paper A: 10).
  num_restarts: attacks from different starts; the strongest counts.
  num_jacobian_steps: power iterations for the Jacobian's norm; 0 = leave it out.
  noise_std: of the measurement noise, pixels in [0, 1]; consistency is then judged against it.
  seed: of every random number.
  """

  alphas: tuple[float, ...] = ALPHAS
  num_steps: int = 50
  num_seeds: int = 10
  num_restarts: int = 1
  num_jacobian_steps: int = 10
  noise_std: float = 0.0
  seed: int = 0

  def __post_init__(self):
    if not self.alphas or not all(0 < alpha <= 1 for alpha in self.alphas):
      raise UserError(f"alphas={self.alphas}: attacks need bounds over 0, at most 1 (pixels in [0, 1])")
    for name in ("num_steps", "num_seeds", "num_restarts"):
      if getattr(self, name) < 1:
        raise UserError(f"{name}={getattr(self, name)} must be at least 1")


@dataclasses.dataclass(frozen=True)
class Pictures:
  """What one image's audit looked at, float32 [h,w,3] in [0, 1] or about it.

  Attributes:
    original: x, or None.
    measurement: y.
    restored: f(y), the first seed's.
    attacked: (alpha, y + delta, f(y + delta)) of each attack.
  """

  original: np.ndarray | None
  measurement: np.ndarray
  restored: np.ndarray
  attacked: list[tuple[float, np.ndarray, np.ndarray]]


def audit(
  restore: Any,
  y: Any,
  *,
  x: Any = None,
  degrade: Callable[[jax.Array], jax.Array] | None = None,
  draw_noise: Callable | None = None,
  **protocol,
) -> dict:
  """Audits a restorer on measurements.

  Args:
    restore: a function y [B,h,w,3] -> x [B,H,W,3], or (y, z) -> x with draw_noise; a PyTorch module; a Restorer.
      Pixels in [0, 1].
    y: measurements [B,h,w,3], or a list of [h,w,3] of several sizes.
    x: the originals, alike, for the distortion; None where they are not known.
    degrade: the degradation without its noise, x [B,H,W,3] -> y [B,h,w,3], for the consistency; None: the restorer's
      own if it is a Restorer, otherwise consistency is not judged.
    draw_noise: see Restorer; makes a function of (y, z) stochastic.
    **protocol: the fields of Protocol.

  Returns:
    what report.json holds: JSON-able, means over the images, each field as summarise says.

  Raises:
    UserError: outputs of a wrong shape, NaN, or a field of the protocol that cannot work.
  """
  restorer = as_restorer(restore, draw_noise=draw_noise, degrade=degrade)
  if degrade is not None:
    restorer = dataclasses.replace(restorer, degrade=degrade)
  originals = [None] * len(y) if x is None else list(x)
  if not len(y):
    raise UserError("there is nothing to audit: no measurement was given")
  if len(originals) != len(y):
    raise UserError(f"audit got {len(y)} measurements and {len(originals)} originals: give one original a measurement")
  pairs = []
  for index, (measurement, original) in enumerate(zip(y, originals, strict=True)):
    original = None if original is None else np.asarray(original, np.float32)
    pairs.append(Pair(f"image {index}", original, np.asarray(measurement, np.float32)))
  protocol = Protocol(**protocol)
  results, pictures = zip(*audit_images(restorer, pairs, protocol), strict=True)
  return summarise(restorer, protocol, results, pictures)


def audit_images(restorer: Restorer, pairs: Iterable[Pair], protocol: Protocol):
  """Audits images one at a time: yields (what was measured on it, a JSON-able dict, its Pictures)."""
  for index, pair in enumerate(pairs):
    # An image's random numbers depend on its place alone.
    key = jax.random.fold_in(jax.random.key(protocol.seed), index)
    yield _audit_image(restorer, pair, protocol, key)


@in_float32
def _audit_image(restorer: Restorer, pair: Pair, protocol: Protocol, key: jax.Array) -> tuple[dict, Pictures]:
  noise_key, attack_key, jacobian_key = jax.random.split(key, 3)
  y = jnp.asarray(pair.y[None], jnp.float32)
  z = restorer.noise(noise_key[None], y.shape[1:], protocol.num_seeds)
  x = restore_all(restorer.restore, y, z)
  result = {"name": pair.name, "psnr_y_db": None, "consistency_db": None, "per_pixel_std": 0.0}
  if pair.x is not None:
    result["psnr_y_db"] = float(np.mean([psnr_y(draw, pair.x) for draw in np.asarray(x[:, 0])]))
  if restorer.degrade is not None:
    degraded = restorer.degrade(x[:, 0])  # as it comes: clipping a projection to [0, 1] would undo it
    if degraded.shape[1:] != y.shape[1:]:
      raise UserError(f"degrade returns shape {degraded.shape[1:]} for a restoration of a measurement {y.shape[1:]}")
    seeds_of_y = jnp.broadcast_to(y, degraded.shape)
    result["consistency_db"] = float(jnp.mean(consistency_psnr(seeds_of_y, degraded)))
    if protocol.noise_std:
      result["residual_over_noise"] = float(jnp.mean((degraded - y) ** 2)) / protocol.noise_std**2
  if restorer.stochastic and len(x) > 1:
    result["per_pixel_std"] = float(per_pixel_std(x)[0])

  result["robustness"], attacked = [], []
  for alpha in protocol.alphas:
    change, attacked_y, attacked_x = attack(
      restorer.restore, y, x, z, attack_key,
      alpha=alpha, num_steps=protocol.num_steps, num_restarts=protocol.num_restarts,
    )
    result["robustness"].append({"alpha": alpha, **change})
    attacked.append((alpha, np.asarray(attacked_y[0]), np.asarray(attacked_x[0, 0])))
  result["lipschitz_from_attacks"] = max(change["lipschitz"] for change in result["robustness"])
  result["lipschitz_from_jacobian"] = None
  if protocol.num_jacobian_steps and not restorer.eager:
    first_seed = jax.tree.map(lambda leaf: leaf[0], z)
    bound, _ = jacobian_lower_bound(
      restorer.restore, y, first_seed, jacobian_key, num_steps=protocol.num_jacobian_steps
    )
    result["lipschitz_from_jacobian"] = float(bound[0])
  result["lipschitz_lower_bound"] = max(result["lipschitz_from_attacks"], result["lipschitz_from_jacobian"] or 0.0)
  return result, Pictures(pair.x, pair.y, np.asarray(x[0, 0]), attacked)


def summarise(
  restorer: Restorer, protocol: Protocol, images: Sequence[dict], pictures: Sequence[Pictures]
) -> dict:
  """What report.json holds: means over the images, dB averaged as dB; Lipschitz bounds are maxima.

  A quantity that could not be measured (no original, no degradation) is None. A PSNR between equal images is infinite.
  """

  def mean(name):
    values = [image[name] for image in images if image.get(name) is not None]
    return float(np.mean(values)) if values else None

  curve = []
  for index, alpha in enumerate(protocol.alphas):
    points = [image["robustness"][index] for image in images]
    curve.append({
      "alpha": alpha,
      "input_psnr_db": float(np.mean([point["input_psnr_db"] for point in points])),
      "output_psnr_db": float(np.mean([point["output_psnr_db"] for point in points])),
      "lipschitz": max(point["lipschitz"] for point in points),
    })
  return {
    "restorer": restorer.name,
    "stochastic": restorer.stochastic,
    "num_images": len(images),
    "protocol": dataclasses.asdict(protocol) | {"precision": "its own" if restorer.eager else MEASURING["precision"]},
    "psnr_y_db": mean("psnr_y_db"),
    "consistency_db": mean("consistency_db"),
    **({"residual_over_noise": mean("residual_over_noise")} if protocol.noise_std else {}),
    "per_pixel_std": mean("per_pixel_std"),
    "lipschitz_lower_bound": max(image["lipschitz_lower_bound"] for image in images),
    "joint_index": joint_index(pictures),
    "robustness": curve,
    "images": list(images),
  }


def joint_index(pictures: Sequence[Pictures]) -> dict | None:
  """The joint perceptual index by patches of raw pixels: no weights, no perception, but texture's statistics.

  The root of the Frechet distance between Gaussians fitted to (image patch, upsampled measurement patch) of the
  originals and of the restorations (the first seed's, clipped). Paper B's sqrt(JFID) has InceptionV3 features instead.

  Returns:
    {"value", "num_patches", "meaning"}; None without originals, where a measurement is no smaller image of its
    restoration, or with fewer patches than a covariance needs.
  """
  patches = [_joint_patches(picture) for picture in pictures]
  if any(patch is None for patch in patches):
    return None
  x, x_hat, y = (np.concatenate(parts) for parts in zip(*patches, strict=True))
  if len(x) <= x.shape[1] + y.shape[1]:
    return None
  return {
    "value": joint_frechet_distance(x, y, x_hat) ** 0.5,
    "num_patches": len(x),
    "meaning": f"Root of the Frechet distance between {PATCH}x{PATCH} pixel patches of originals and restorations, "
    "each joined with its measurement: 0 where the restorations have the originals' texture and agree with the "
    "measurements. Second-order statistics of raw pixels, not FID features: compare values of the same images only.",
  }


def _joint_patches(picture):
  """[N, PATCH^2 3] of the original, the restoration and the upsampled measurement; None where they cannot be joined."""
  x, y = picture.original, picture.measurement
  if x is None or x.shape != picture.restored.shape or x.shape[0] % y.shape[0] or x.shape[1] % y.shape[1]:
    return None
  upsampled = y.repeat(x.shape[0] // y.shape[0], 0).repeat(x.shape[1] // y.shape[1], 1)
  rows, columns = x.shape[0] // PATCH, x.shape[1] // PATCH

  def cut(image):
    blocks = image[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH, 3)
    return blocks.swapaxes(1, 2).reshape(rows * columns, -1)

  return cut(x), cut(np.clip(picture.restored, 0, 1)), cut(upsampled)


if __name__ == "__main__":
  from prt_jax.audit_command import main
  from prt_jax.command_line import run

  run(main)
