"""How far can a restorer be trusted? Its distortion, consistency, robustness, Lipschitz bound and diversity.

  python -m prt_jax.audit --restorer=imdn --checkpoint=FILE --scale=4 --input=DIR --output=DIR

writes report.json and report.html. In Python, audit(restore, y) takes a function of your own.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.attacks import first_draw
from prt_jax.errors import UserError
from prt_jax.image_pairs import Pair
from prt_jax.lipschitz import jacobian_lower_bound
from prt_jax.measurements import (
  attack,
  capped_consistency_psnr,
  psnr_y,
  restore_repeatably,
  unchecked_per_pixel_std,
)
from prt_jax.metrics import PSNR_CAP
from prt_jax.metrics.joint import joint_frechet_distance
from prt_jax.pixels import as_pixels
from prt_jax.precision import MEASURING, in_float32
from prt_jax.programs import as_program
from prt_jax.restorers.bicubic import bicubic_upsample
from prt_jax.restorers.ranges import in_range
from prt_jax.restorers.restorer import Restorer, as_restorer

OVERSHOOT = 0.5  # beyond black or white that a network has at edges, at most
FAR_BELOW = 3.0  # dB that even a network trained for looks alone is below bicubic interpolation, at most
INCONSISTENT = 20.0  # dB
_RANGES = ("measured_range", "restored_range")
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
  border: pixels on each side that PSNR-Y leaves out; None: the magnification, where there is one (scale_of), and 0 for
    a restorer of one image size, a training run's.
  seed: of every random number.
  """

  alphas: tuple[float, ...] = ALPHAS
  num_steps: int = 50
  num_seeds: int = 10
  num_restarts: int = 1
  num_jacobian_steps: int = 10
  noise_std: float = 0.0
  border: int | None = None
  seed: int = 0

  def __post_init__(self):
    if not self.alphas or not all(0 < alpha <= 1 for alpha in self.alphas):
      raise UserError(f"alphas={self.alphas}: attacks need bounds over 0, at most 1 (pixels in [0, 1])")
    for name in ("num_steps", "num_seeds", "num_restarts"):
      if getattr(self, name) < 1:
        raise UserError(f"{name}={getattr(self, name)} must be at least 1")
    if self.border is not None and self.border < 0:
      raise UserError(f"border={self.border} must not be negative: 0 leaves out nothing")


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
  pixel_range: str = "0..1",
  **protocol,
) -> dict:
  """Audits a restorer on measurements.

  Args:
    restore: a function y [B,h,w,3] -> x [B,H,W,3], or (y, z) -> x with draw_noise; a PyTorch module; a Restorer.
      Pixels in [0, 1].
    y: measurements [B,h,w,3], or a list of [h,w,3] of several sizes; in [0, 1], or uint8.
    x: the originals, alike, for the distortion; None where they are not known.
    degrade: the degradation without its noise, x [B,H,W,3] -> y [B,h,w,3], for the consistency; None: the restorer's
      own if it is a Restorer, otherwise consistency is not judged.
    draw_noise: see Restorer; makes a function of (y, z) stochastic.
    pixel_range: of what the restorer itself takes and returns, see ranges.in_range; y and x are in [0, 1] anyhow.
    **protocol: the fields of Protocol.

  Returns:
    what report.json holds: JSON-able, means over the images, each field as summarise says.

  Raises:
    UserError: outputs of a wrong shape, NaN, pixels of y or x in another range, or a field of the protocol that cannot
      work.
  """
  restorer = as_restorer(restore, draw_noise=draw_noise, degrade=degrade)
  if degrade is not None:
    restorer = dataclasses.replace(restorer, degrade=degrade)
  restorer = in_range(restorer, pixel_range)
  originals = [None] * len(y) if x is None else list(x)
  if not len(y):
    raise UserError("there is nothing to audit: no measurement was given")
  if len(originals) != len(y):
    raise UserError(f"audit got {len(y)} measurements and {len(originals)} originals: give one original a measurement")
  pairs = []
  for index, (measurement, original) in enumerate(zip(y, originals, strict=True)):
    name = f"image {index}"
    original = None if original is None else np.asarray(as_pixels(original, f"the original of {name}"))
    pairs.append(Pair(name, original, np.asarray(as_pixels(measurement, f"the measurement of {name}"))))
  protocol = Protocol(**protocol)
  results, pictures = zip(*audit_images(restorer, pairs, protocol), strict=True)
  return summarise(restorer, protocol, results, pictures)


def audit_images(restorer: Restorer, pairs: Iterable[Pair], protocol: Protocol):
  """Audits images one at a time: yields (what was measured on it, a JSON-able dict, its Pictures)."""
  programs = {}  # by shape: the restorer as it is when the first such image comes
  for index, pair in enumerate(pairs):
    # An image's random numbers depend on its place alone.
    key = jax.random.fold_in(jax.random.key(protocol.seed), index)
    yield _audit_image(restorer, pair, protocol, key, programs)


def scale_of(x: np.ndarray, y: np.ndarray) -> int:
  """By how much larger x [H,W,3] is than y [h,w,3], if it is by the same whole number along both sides; otherwise 1."""
  scale = max(1, x.shape[0] // y.shape[0])
  return scale if x.shape[:2] == (scale * y.shape[0], scale * y.shape[1]) else 1


def _range(images: jax.Array) -> list[float]:
  return [float(images.min()), float(images.max())]


def _border(restorer, pair, protocol):
  """The protocol's border for one image, in pixels."""
  if protocol.border is not None:
    return protocol.border
  scale = scale_of(pair.x, pair.y)
  return 0 if restorer.image_size or scale == 1 else scale


@in_float32
def _audit_image(restorer, pair: Pair, protocol: Protocol, key: jax.Array, programs: dict) -> tuple[dict, Pictures]:
  noise_key, attack_key, jacobian_key = jax.random.split(key, 3)
  y = jnp.asarray(pair.y[None], jnp.float32)
  z = restorer.noise(noise_key[None], y.shape[1:], protocol.num_seeds)
  x = restore_repeatably(restorer.restore, y, z)
  if y.shape not in programs:
    programs[y.shape] = as_program(restorer.restore, y, first_draw(z))
  restore = programs[y.shape]
  result = {"name": pair.name, "psnr_y_db": None, "consistency_db": None, "per_pixel_std": 0.0}
  result |= {"measured_range": _range(y), "restored_range": _range(x)}
  if pair.x is not None:
    result["border"] = border = _border(restorer, pair, protocol)
    result["psnr_y_db"] = float(np.mean([psnr_y(draw, pair.x, border) for draw in np.asarray(x[:, 0]).clip(0, 1)]))
    if (scale := scale_of(pair.x, pair.y)) > 1:
      interpolated = np.asarray(bicubic_upsample(y, scale))[0].clip(0, 1)
      result["bicubic_psnr_y_db"] = psnr_y(interpolated, pair.x, border)
  if restorer.degrade is not None:
    degraded = restorer.degrade(x[:, 0])  # as it comes: clipping a projection to [0, 1] would undo it
    if degraded.shape[1:] != y.shape[1:]:
      raise UserError(f"degrade returns shape {degraded.shape[1:]} for a restoration of a measurement {y.shape[1:]}")
    seeds_of_y = jnp.broadcast_to(y, degraded.shape)
    result["consistency_db"] = float(jnp.mean(capped_consistency_psnr(seeds_of_y, degraded)))
    if protocol.noise_std:
      result["residual_over_noise"] = float(jnp.mean((degraded - y) ** 2)) / protocol.noise_std**2
  if restorer.stochastic and len(x) > 1:
    result["per_pixel_std"] = float(unchecked_per_pixel_std(x)[0])

  result["robustness"], attacked = [], []
  for alpha in protocol.alphas:
    change, attacked_y, attacked_x = attack(
      restore, y, x, z, attack_key,
      alpha=alpha, num_steps=protocol.num_steps, num_restarts=protocol.num_restarts,
    )
    result["robustness"].append({"alpha": alpha, **change})
    attacked.append((alpha, np.asarray(attacked_y[0]), np.asarray(attacked_x[0, 0])))
  result["lipschitz_from_attacks"] = max(change["lipschitz"] for change in result["robustness"])
  result["lipschitz_from_jacobian"] = None
  if protocol.num_jacobian_steps and not restorer.eager:
    bound, _ = jacobian_lower_bound(restore, y, first_draw(z), jacobian_key, num_steps=protocol.num_jacobian_steps)
    result["lipschitz_from_jacobian"] = float(bound[0])
  result["lipschitz_lower_bound"] = max(result["lipschitz_from_attacks"], result["lipschitz_from_jacobian"] or 0.0)
  return result, Pictures(pair.x, pair.y, np.asarray(x[0, 0]), attacked)


def summarise(
  restorer: Restorer, protocol: Protocol, images: Sequence[dict], pictures: Sequence[Pictures]
) -> dict:
  """What report.json holds: means over the images, dB averaged as dB; Lipschitz bounds are maxima.

  A quantity that could not be measured (no original, no degradation) is None. PSNRs count as at most PSNR_CAP. Beside
  the mean of one, NAME, stand NAME_median, NAME_minimum and NAME_num_exact, how many images are at the cap.
  """

  def known(name):
    return [image[name] for image in images if image.get(name) is not None]

  def mean(name):
    return float(np.mean(known(name))) if known(name) else None

  curve = []
  for index, alpha in enumerate(protocol.alphas):
    points = [image["robustness"][index] for image in images]
    curve.append({
      "alpha": alpha,
      "input_psnr_db": float(np.mean([point["input_psnr_db"] for point in points])),
      **_psnr_statistics("output_psnr_db", [point["output_psnr_db"] for point in points]),
      "lipschitz": max(point["lipschitz"] for point in points),
    })
  report = {
    "restorer": restorer.name,
    "range": restorer.pixel_range,
    **{name: [min(image[name][0] for image in images), max(image[name][1] for image in images)] for name in _RANGES},
    "stochastic": restorer.stochastic,
    "num_images": len(images),
    "protocol": dataclasses.asdict(protocol) | {"precision": "its own" if restorer.eager else MEASURING["precision"]},
    **_psnr_statistics("psnr_y_db", known("psnr_y_db")),
    **({"bicubic_psnr_y_db": mean("bicubic_psnr_y_db")} if known("bicubic_psnr_y_db") else {}),
    "border": sorted({image["border"] for image in images if "border" in image}),
    **_psnr_statistics("consistency_db", known("consistency_db")),
    **({"residual_over_noise": mean("residual_over_noise")} if protocol.noise_std else {}),
    "per_pixel_std": mean("per_pixel_std"),
    "lipschitz_lower_bound": max(image["lipschitz_lower_bound"] for image in images),
    "joint_index": joint_index(pictures),
    "robustness": curve,
    "images": list(images),
  }
  return {**report, "remarks": remarks(report)}


def remarks(report: dict) -> list[str]:
  """What about a report's numbers looks like a mistake in the use of the restorer: one line each, mostly none."""
  low, high = report["restored_range"]
  seen = f"the restorations reach from {low:.3g} to {high:.3g} where black is 0 and white 1"
  check = f"check the restorer's range (--range, pixel_range), channels and degradation; {seen}"
  found = []
  if low < -OVERSHOOT or high > 1 + OVERSHOOT:
    found.append(f"{seen}: if the restorer has another range, --range (pixel_range) says so")
  below = report.get("bicubic_psnr_y_db", -math.inf) - (report["psnr_y_db"] or 0)
  if below > FAR_BELOW:
    found.append(f"PSNR-Y is {below:.1f} dB below that of bicubic interpolation: {check}")
  consistency = math.inf if report["consistency_db"] is None else report["consistency_db"]
  if consistency < INCONSISTENT and "residual_over_noise" not in report:
    found.append(f"the restorations, degraded, agree with their measurements to {consistency:.1f} dB alone: {check}")
  return found


def _psnr_statistics(name: str, values: Sequence[float]) -> dict:
  statistics = {"": np.mean, "_median": np.median, "_minimum": np.min}
  return {
    **{f"{name}{ending}": float(reduce(values)) if values else None for ending, reduce in statistics.items()},
    f"{name}_num_exact": sum(value >= PSNR_CAP for value in values),
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
