"""Explores what else a restorer could have shown: many restorations of almost the same measurement.

  python -m prt_jax.explore --restorer=srgan --checkpoint=FILE --scale=4 --input=DIR --output=DIR [--num_outputs=8]

For each image: a contact sheet NAME.png (rows: found by exploration, by random perturbations of the same input
PSNR, and, for a stochastic restorer, by its own draws of Z) and a record in explore.json.
"""


import jax
import jax.numpy as jnp
import numpy as np

from prt_jax import devices
from prt_jax.commands import restorer_flags
from prt_jax.commands.parser import Parser, run
from prt_jax.data.image_pairs import Pair
from prt_jax.errors import UserError
from prt_jax.evaluation.checked_calls import in_restorers_code, restore_repeatably
from prt_jax.evaluation.exploration import explore, pairwise_distances, random_outputs
from prt_jax.evaluation.measures import capped_consistency_psnr
from prt_jax.importing import make_callable
from prt_jax.io.pictures import draw_grid, save_png
from prt_jax.io.whole_files import write_json
from prt_jax.metrics import PSNR_CAP, psnr
from prt_jax.metrics.luma import check_size
from prt_jax.precision import in_float32
from prt_jax.restorers import Restorer

WINDOW = 192  # pixels of a restoration on the contact sheet, where the found ones differ most


def main(argv: list[str]) -> None:
  """Explores the images of a folder; prints a line an image."""
  parser = Parser(__doc__)
  restorer_flags.add_flags(parser)
  parser.add_argument("--num_outputs", type=int, default=8, help="restorations an image, that of y included; default 8")
  parser.add_argument("--min_input_psnr", type=float, default=30.0, help="dB of PSNR(y, y + delta); default 30")
  parser.add_argument("--num_steps", type=int, default=100, help="gradient steps a restoration; default 100")
  arguments = parser.parse_args(argv)
  restorer_flags.use_all_cores(arguments)
  if arguments.num_outputs < 2:
    raise UserError(f"--num_outputs={arguments.num_outputs}: distances need at least 2 restorations")
  restorer, pairs, _, skipped, _ = restorer_flags.load(arguments)
  output = restorer_flags.output(arguments)
  records = []
  for index, pair in enumerate(pairs):
    devices.release_programs()
    key = jax.random.fold_in(jax.random.key(arguments.seed), index)
    record, rows = explore_image(
      restorer, pair, key,
      num_outputs=arguments.num_outputs, min_input_psnr=arguments.min_input_psnr, num_steps=arguments.num_steps,
    )
    records.append(record)
    save_png(output / f"{pair.name}.png", contact_sheet(rows))
    report = {"restorer": restorer.name, "min_input_psnr": arguments.min_input_psnr, "images": records}
    report |= {"skipped": skipped} if skipped else {}
    write_json(output / "explore.json", report)
    print(_line(record), flush=True)


@in_float32
def explore_image(
  restorer: Restorer, pair: Pair, key: jax.Array, *, num_outputs: int, min_input_psnr: float, num_steps: int
) -> tuple[dict, dict[str, np.ndarray]]:
  """One image's exploration.

  Args:
    restorer, pair: what is explored.
    key: a typed key.
    num_outputs, min_input_psnr, num_steps: as in exploration.explore.

  Returns:
    (a JSON-able record: distances are RMSE over pixels, "consistency_db" is PSNR(D(x), y) of each found restoration
    with the unperturbed y, at most PSNR_CAP, None without a degradation; {row title: restorations [N,H,W,3]}).
  """
  noise_key, explore_key, random_key = jax.random.split(key, 3)
  y = jnp.asarray(pair.y[None])
  z = restorer.noise(noise_key[None], y.shape[1:], num_outputs)
  draws = restore_repeatably(restorer.restore, y, z)[:, 0]
  if pair.x is not None:
    check_size(draws[0], pair.x)
  first_z = jax.tree.map(lambda leaf: leaf[0], z)
  bounds = {"num_outputs": num_outputs, "min_input_psnr": min_input_psnr}
  with in_restorers_code(restorer.restore, y, first_z):
    delta, found = explore(restorer.restore, y, first_z, explore_key, num_steps=num_steps, **bounds)
  rows = {"explored": found, "random": random_outputs(restorer.restore, y, first_z, random_key, **bounds)}
  if restorer.stochastic:
    rows["draws of Z"] = draws
  distances = {title: pairwise_distances(jnp.clip(row, 0, 1)) for title, row in rows.items()}
  record = {
    "name": pair.name,
    "distances": {
      title: {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
      for title, values in distances.items()
    },
    "explored_over_random": float(distances["explored"].mean() / max(distances["random"].mean(), 1e-12)),
    # The first is y itself, unperturbed.
    "input_psnr_db": [None, *jnp.minimum(psnr(y + delta[1:], jnp.broadcast_to(y, delta[1:].shape)), PSNR_CAP).tolist()],
    "consistency_db": None,
  }
  if restorer.degrade is not None:
    degraded = restorer.degrade(jnp.clip(found, 0, 1))
    record["consistency_db"] = capped_consistency_psnr(jnp.broadcast_to(y, degraded.shape), degraded).tolist()
  return record, {title: np.asarray(row) for title, row in rows.items()}


def contact_sheet(rows: dict[str, np.ndarray]) -> np.ndarray:
  """uint8 [h,w,3]: one row of N restorations a title, cut to the window where the explored ones differ most."""
  spread = np.clip(rows["explored"], 0, 1).std(0).sum(-1)
  height, width = (min(WINDOW, side) for side in spread.shape)
  total = np.pad(spread.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
  sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
  top, left = np.unravel_index(np.argmax(sums), sums.shape)
  stacked = np.stack([row[:, top : top + height, left : left + width] for row in rows.values()], axis=1)
  titles = [" / ".join(rows) if index == 0 else str(index + 1) for index in range(len(stacked))]
  return draw_grid(list(zip(titles, stacked, strict=True)))


def _line(record: dict) -> str:
  means = ", ".join(f"{title} {values['mean']:.4f}" for title, values in record["distances"].items())
  return f"{record['name']}: mean distances {means}; explored over random {record['explored_over_random']:.1f}"


make_callable(__name__, explore)

if __name__ == "__main__":
  run(main)
