"""The pictures of an evaluation: originals, measurements, restorations, and what the attack makes of them."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from prt_jax import devices
from prt_jax.attacks.table import ATTACKS
from prt_jax.evaluation.measured_parts import enlarged
from prt_jax.evaluation.runner import Batch, Runner
from prt_jax.io import pictures

NUM_WORST = 6
NUM_FIRST = 6
NUM_DRAWS = 4
DIFFERENCE_GAIN = 2  # a difference of 1/2 is drawn white


def make(
  runner: Runner, config: ConfigDict, begin: Callable[[np.ndarray], Batch], rows: np.ndarray, robustness_db: np.ndarray
) -> dict[str, np.ndarray]:
  """Two grids, uint8 [h,w,3].

  Args:
    runner, config: of the evaluated run.
    begin: rows of the data set -> their batch.
    rows: [n], the evaluated ones.
    robustness_db: [n], theirs.

  Returns:
    {"worst": the least robust inputs, worst first; "first": the first inputs, chosen by nobody}.
  """
  worst = np.argsort(robustness_db, kind="stable")[:NUM_WORST]
  first = np.arange(min(NUM_FIRST, len(rows)))
  shown = np.concatenate([worst, first])
  # Compiled for the batch size that the evaluation has used, so that nothing is compiled twice.
  size = config.eval.batch_size
  columns = []
  for start in range(0, len(shown), size):
    mine = rows[shown[start : start + size]]
    batch = begin(np.concatenate([mine, np.full(size - len(mine), mine[-1])]))
    columns.append([
      (title, devices.gather_examples(column)[: len(mine)]) for title, column in _columns(runner, config, batch)
    ])
  columns = [(pieces[0][0], np.concatenate([piece for _, piece in pieces])) for pieces in zip(*columns, strict=True)]
  grids = {}
  for name, chosen, place in (
    ("worst", worst, slice(len(worst))),
    ("first", first, slice(len(worst), None)),
  ):
    labels = [f"row {rows[i]}\n{robustness_db[i]:.1f} dB" for i in chosen]
    grids[name] = pictures.draw_grid([(title, column[place]) for title, column in columns], labels)
  return grids


def _columns(runner, config, batch):
  attack = config.attack
  delta = runner.search(
    batch, ATTACKS["search"], attack.eps, attack.num_steps, learning_rate=attack.learning_rate
  )
  attacked = runner.attacked(batch, delta, "search").attacked[:, 0]
  columns = [("original", batch.x), ("measurement", enlarged(runner.restorer, batch))]
  if runner.restorer.stochastic:
    columns += [(f"restored, Z{number + 1}", runner.draw(batch, number)) for number in range(NUM_DRAWS)]
    std = runner.spread(batch, config.eval.num_std_seeds)
    columns.append((f"std x{pictures.STD_GAIN}", pictures.STD_GAIN * std.mean(-1, keepdims=True).repeat(3, -1)))
  else:
    columns.append(("restored", batch.restored[:, 0]))
  return [
    *columns,
    ("attacked input", enlarged(runner.restorer, batch._replace(y=batch.y + delta))),
    ("its restoration", attacked),
    (f"change x{DIFFERENCE_GAIN}", DIFFERENCE_GAIN * jnp.abs(attacked - batch.restored[:, 0])),
  ]
