"""What no change of the measurement can do to a smoothed restorer, beside what an attack found.

  python -m prt_jax.certify --restorer=bicubic --scale=4 --input=DIR --output=DIR --crop=64 --radii=0.02,0.05

An interval for every pixel of the restorer's median under Gaussian noise (prt_jax.smoothing), which no change within
the radius leaves, with its confidence; and the same median at the changes that two L2 attacks on the restorer found,
paper A's search and the stronger one. Costs --num_samples restorations an image, and twice as many for each radius, to
judge the attacks. Writes certificate.json.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax import devices
from prt_jax.attacks.table import ATTACKS, PAPERS, STRONGER
from prt_jax.commands import restorer_flags
from prt_jax.commands.parser import Parser, run
from prt_jax.errors import UserError
from prt_jax.evaluation.checked_calls import in_restorers_code
from prt_jax.evaluation.measured_parts import CURVE_RATE, DIRECTION_STEPS
from prt_jax.evaluation.runner import Runner
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
  parser.add_argument(
    "--num_steps", type=int, default=50, help="of paper A's search; each start of the stronger attack takes a fifth "
    "more; default 50",
  )
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
    devices.release_programs()
    # A run's own images have the random numbers of its evaluation.
    number = index if pair.number is None else pair.number
    record = certify_image(restorer, pair.y, number, radii=radii, **protocol)
    report["images"].append({"name": pair.name} | record)
    write_json(output / "certificate.json", report)
    for radius, row in zip(radii, record["radii"], strict=True):
      print(
        f"{pair.name}  radius {radius:g}: no change moves the median by more than {row['reach']:.4f} (RMS), "
        f"the search moved it by {row['attacked']:.4f}, the stronger attack by {row['attacked_strong']:.4f}; "
        f"{row['held']:.2%} of the pixels in their intervals",
        flush=True,
      )


def certify_image(
  restorer: Restorer,
  y: np.ndarray | jax.Array,
  index: int = 0,
  *,
  radii: Sequence[float],
  sigma: float,
  num_samples: int,
  confidence: float,
  num_steps: int,
  seed: int = 0,
) -> dict:
  """One measurement [h,w,3], the image of that index: {"radii": a row a radius}, all numbers root mean squares over
  pixels and channels.

  A row: "reach", from the median to the farther end of its interval; "attacked", how far the median moved at the change
  that paper A's search found; "restorer_attacked", the restorer itself; "attacked_strong" and
  "restorer_attacked_strong", of the stronger attack; "held", the share of pixels in their intervals at both.
  """
  runner = Runner(restorer, 1, seed=seed)
  batch = runner.begin(None, np.asarray(y)[None], np.array([index]))
  measured, reference = batch.y[0], batch.restored[0, 0]
  first_z = jax.tree.map(lambda leaf: leaf[0, 0], batch.z)
  key = jax.random.fold_in(jax.random.key(seed), index)

  def restore(y):
    shared = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(y), *leaf.shape[1:])), first_z)
    return restorer.restore(y, shared)

  restore.eager = is_eager(restorer.restore)
  smooth = {"sigma": sigma, "num_samples": num_samples}
  with in_restorers_code(restorer.restore, measured, first_z):
    certificate = certify(restore, measured, key, radii=tuple(radii), confidence=confidence, **smooth)
    _, direction = runner.singular(batch, DIRECTION_STEPS)
    rows = []
    for radius in radii:
      farther = np.maximum(certificate.upper - certificate.median, certificate.median - certificate.lower)
      row = {"reach": _rms(farther[certificate.radii.index(radius)]), "held": 1.0}
      for name, suffix in ((PAPERS["L2"], ""), (STRONGER["L2"], "_strong")):
        attack = ATTACKS[name]
        delta = runner.search(
          batch, attack, radius, round(attack.curve_steps * num_steps), learning_rate=CURVE_RATE * radius,
          direction=direction if attack.along else None,
        )[0]  # fmt: skip
        # The same noise on both sides: what moves the median is the change.
        moved = np.median(ordered_samples(restore, measured + delta, key, **smooth), axis=0)
        row["held"] = min(row["held"], float(certificate.holds(moved, radius)[0]))
        row[f"attacked{suffix}"] = _rms(moved - certificate.median)
        changed = jnp.clip(restore(measured + delta), 0, 1) - jnp.clip(reference, 0, 1)
        row[f"restorer_attacked{suffix}"] = _rms(np.asarray(changed))
      rows.append(row)
  return {"radii": rows}


def _rms(x):
  return float(np.sqrt(np.mean(np.square(x))))


if __name__ == "__main__":
  run(main)
