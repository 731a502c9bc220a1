"""The pictures of an evaluation: originals, measurements, restorations, and what the attack makes of them."""

import numpy as np

from prt_jax import devices, pictures
from prt_jax.probe import Probe

NUM_WORST = 6
NUM_FIRST = 6
NUM_DRAWS = 4
DIFFERENCE_GAIN = 2  # a difference of 1/2 is drawn white


def make(probe: Probe, images: np.ndarray, rows: np.ndarray, robustness_db: np.ndarray) -> dict[str, np.ndarray]:
  """Two grids, uint8 [h,w,3].

  Args:
    probe: of the evaluated run.
    images: the validation set, uint8 [N,H,W,3].
    rows: [n], the evaluated rows of it.
    robustness_db: [n], theirs.

  Returns:
    {"worst": the least robust inputs, worst first; "first": the first inputs, chosen by nobody}.
  """
  worst = np.argsort(robustness_db, kind="stable")[:NUM_WORST]
  first = np.arange(min(NUM_FIRST, len(rows)))
  shown = np.concatenate([worst, first])
  # Compiled for the batch size that the pass has used, so that nothing is compiled twice.
  size = probe.game.config.eval.batch_size
  network_input = devices.over_examples(lambda _, y: probe.game.degradation.network_input(y))
  columns = [
    _columns(probe, network_input, images, rows[shown[start : start + size]], size)
    for start in range(0, len(shown), size)
  ]
  columns = [(pieces[0][0], np.concatenate([piece for _, piece in pieces])) for pieces in zip(*columns, strict=True)]
  grids = {}
  for name, chosen, place in (
    ("worst", worst, slice(len(worst))),
    ("first", first, slice(len(worst), None)),
  ):
    labels = [f"row {rows[i]}\n{robustness_db[i]:.1f} dB" for i in chosen]
    grids[name] = pictures.draw_grid([(title, column[place]) for title, column in columns], labels)
  return grids


def _columns(probe, network_input, images, rows, size):
  count = len(rows)
  rows = devices.local_rows(np.concatenate([rows, np.full(size - count, rows[-1])]))
  batch = probe.begin(images[rows], rows)
  delta = probe.attack(batch)
  attacked = probe.attacked_image(batch, delta)
  columns = [("original", batch.x), ("measurement", network_input(None, batch.y))]
  if probe.game.config.model.stochastic:
    columns += [(f"restored, Z{number + 1}", probe.draw(batch, number)) for number in range(NUM_DRAWS)]
    std = probe.spread(batch, probe.game.config.eval.num_std_seeds)[1]
    columns.append((f"std x{pictures.STD_GAIN}", pictures.STD_GAIN * std.mean(-1, keepdims=True).repeat(3, -1)))
  else:
    columns.append(("restored", batch.restored[:, 0]))
  columns += [
    ("attacked input", network_input(None, batch.y + delta)),
    ("its restoration", attacked),
    (f"change x{DIFFERENCE_GAIN}", DIFFERENCE_GAIN * abs(attacked - batch.restored[:, 0])),
  ]
  return [(title, devices.gather_examples(column)[:count]) for title, column in columns]
