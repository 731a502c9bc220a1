"""What no change of the measurement can do to a smoothed restorer, beside what an attack found.

  python -m prt_jax.certify --restorer=bicubic --scale=4 --input=DIR --output=DIR --crop=64 --radii=0.02,0.05

An interval for every pixel of the restorer's median under Gaussian noise (prt_jax.smoothing), which no change within
the radius leaves, with its confidence; and the same median at the change that an L2 attack on the restorer found. Costs
--num_samples restorations an image, and as many again for each radius, to judge the attack. Writes certificate.json.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.attacks import adversarial_search
from prt_jax.commands import restorer_flags
from prt_jax.commands.parser import Parser, run
from prt_jax.errors import UserError
from prt_jax.evaluation.checked_calls import in_restorers_code, restore_repeatably
from prt_jax.io.whole_files import write_json
from prt_jax.programs import is_eager
from prt_jax.restorers import Restorer
from prt_jax.smoothing import certify, ordered_samples


def main(argv: list[str]) -> None:
  """Certifies the images of a folder; prints a line an image and radius."""
  parser = Parser(__doc__)
  restorer_flags.add_flags(parser)
  parser.add_argument("--sigma", type=float, default=0.05, help="of the noise, pixels in [0, 1]; default 0.05")
  parser.add_argument("--radii", default="0.02,0.05", help="L2 norms of a change, over all pixels of a measurement")
  parser.add_argument("--num_samples", type=int, default=1_000, help="restorations an image; all are kept in memory")
  parser.add_argument("--confidence", type=float, default=0.999, help="of one pixel's interval; default 0.999")
  parser.add_argument("--num_steps", type=int, default=50, help="of the attack; default 50")
  arguments = parser.parse_args(argv)
  try:
    radii = [float(radius) for radius in arguments.radii.split(",")]
  except ValueError:
    raise UserError(f"--radii={arguments.radii} is no comma-separated list of numbers, 0.02,0.05 for example") from None
  restorer_flags.use_all_cores(arguments)
  restorer, pairs, _, skipped, _ = restorer_flags.load(arguments)
  output = restorer_flags.output(arguments)
  protocol = {name: getattr(arguments, name) for name in ("sigma", "num_samples", "confidence", "num_steps", "seed")}
  report: dict[str, Any] = {"restorer": restorer.name, "radii": radii, **protocol, "images": []} | (
    {"skipped": skipped} if skipped else {}
  )
  for index, pair in enumerate(pairs):
    key = jax.random.fold_in(jax.random.key(arguments.seed), index)
    record = certify_image(restorer, pair.y, key, radii=radii, **{name: protocol[name] for name in list(protocol)[:4]})
    report["images"].append({"name": pair.name} | record)
    write_json(output / "certificate.json", report)
    for radius, row in zip(radii, record["radii"], strict=True):
      print(
        f"{pair.name}  radius {radius:g}: no change moves the median by more than {row['reach']:.4f} (RMS), "
        f"the attack moved it by {row['attacked']:.4f}; {row['held']:.2%} of the pixels in their intervals",
        flush=True,
      )


def certify_image(
  restorer: Restorer,
  y: np.ndarray | jax.Array,
  key: jax.Array,
  *,
  radii: Sequence[float],
  sigma: float,
  num_samples: int,
  confidence: float,
  num_steps: int,
) -> dict:
  """One measurement [h,w,3]: {"radii": a row a radius}, all numbers root mean squares over pixels and channels.

  A row: "reach", from the median to the farther end of its interval; "attacked", how far the median moved at the change
  that the attack found; "restorer_attacked", the restorer itself; "held", the share of pixels in their intervals there.
  """
  noise_key, smoothing_key, attack_key = jax.random.split(key, 3)
  y = jnp.asarray(y[None])
  z = restorer.noise(noise_key[None], y.shape[1:], 1)
  reference = restore_repeatably(restorer.restore, y, z)[0]
  first_z = jax.tree.map(lambda leaf: leaf[0], z)

  def restore(y):
    shared = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(y), *leaf.shape[1:])), first_z)
    return restorer.restore(y, shared)

  restore.eager = is_eager(restorer.restore)
  smooth = {"sigma": sigma, "num_samples": num_samples, "confidence": confidence}
  with in_restorers_code(restorer.restore, y, first_z):
    certificate = certify(restore, y, smoothing_key, radii=tuple(radii), **smooth)
    rows = []
    for radius in radii:
      delta = adversarial_search(
        restorer.restore, y, z, attack_key, eps=radius, num_steps=num_steps, learning_rate=radius / 4
      )
      # The same noise on both sides: what moves the median is the change.
      moved = ordered_samples(restore, y + delta, smoothing_key, sigma=sigma, num_samples=num_samples)
      moved = np.median(moved, axis=0)
      farther = np.maximum(certificate.upper - certificate.median, certificate.median - certificate.lower)
      rows.append({
        "reach": _rms(farther[certificate.radii.index(radius)]),
        "attacked": _rms(moved - certificate.median),
        "restorer_attacked": _rms(np.asarray(jnp.clip(restore(y + delta), 0, 1) - jnp.clip(reference, 0, 1))),
        "held": float(certificate.holds(moved, radius)[0]),
      })
  return {"radii": rows}


def _rms(x):
  return float(np.sqrt(np.mean(np.square(x))))


if __name__ == "__main__":
  run(main)
