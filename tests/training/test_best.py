"""Which checkpoints stay: the newest, milestones, the best; and what best.json says."""

import json
import math

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.training.best import Best, Criterion, best_step
from prt_jax.training.checkpoints import Checkpoints
from prt_jax.training.gan import empty_state, make_game
from prt_jax.training.kept import Kept
from tests import tiny

PSNR = Criterion("psnr_db", "watch/psnr_db", "higher")
LIPSCHITZ = Criterion("lipschitz_max", "watch/lipschitz_max", "lower")


def on_disk(workdir):
  return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())


def test_the_newest_the_milestones_and_the_best_stay(tmp_path):
  """Milestones each 6 steps, the two newest; step 4 is the best, then 10 is."""
  state = empty_state(make_game(tiny.get_config()))
  checkpoints = Checkpoints(tmp_path, 2, 6)
  for step in range(2, 17, 2):
    if step in (4, 10):
      checkpoints.kept.best = step
    checkpoints.save(state.replace(step=np.int32(step)))
    checkpoints.wait()
    if step == 8:
      assert on_disk(tmp_path) == [4, 6, 8]
  checkpoints.close()
  assert on_disk(tmp_path) == [6, 10, 12, 14, 16]
  assert int(checkpoints.restore(state, 6).step) == 6


def test_what_stays_by_steps_alone():
  assert Kept(2).of([2, 4, 6, 8]) == [6, 8]
  assert Kept(1, 4).of([2, 4, 6, 8, 9]) == [4, 8, 9]
  assert Kept(1, 0, 2).of([2, 4, 6]) == [2, 6]
  assert Kept(1, 0, 3).of([2, 4, 6]) == [6]


def line(step, value, measure=PSNR):
  return {"step": step, measure.scalar: value}


def recorded(workdir):
  return json.loads((workdir / "best.json").read_text())


def test_the_best_is_found_anew_among_the_checkpoints_that_are_there(tmp_path):
  lines = [line(2, 20.0), {"step": 3, "r1": 1.0}, line(4, 25.0), line(6, 24.0), line(8, 24.0), line(10, math.nan)]
  best = Best(tmp_path, PSNR, lines, steps=[2, 6, 8, 10])
  assert best.step == 6  # 4 is gone, 8 is no better
  assert recorded(tmp_path) == {"step": 6, "measure": "psnr_db", "value": 24.0, "better": "higher"}
  assert best_step(tmp_path) == 6
  assert best.improves(line(12, 24.5)) and not best.improves(line(12, 24.0))
  for worthless in (line(12, math.inf), line(12, math.nan), {"step": 12}, line(12, "25")):
    assert not best.improves(worthless)
  best.record(12, line(12, 24.5))
  assert best_step(tmp_path) == 12 and recorded(tmp_path)["value"] == 24.5
  assert Best(tmp_path, PSNR, lines, steps=[]).step is None and not (tmp_path / "best.json").exists()


def test_of_some_measures_less_is_better(tmp_path):
  lines = [line(2, 3.0, LIPSCHITZ), line(4, 2.0, LIPSCHITZ), line(6, 2.5, LIPSCHITZ)]
  assert Best(tmp_path, LIPSCHITZ, lines, steps=[2, 4, 6]).step == 4
  assert recorded(tmp_path)["better"] == "lower"


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"step": "6"}', '{"step": true}', '{"step": -1}'])
def test_no_best_is_one_line(content, tmp_path):
  if content is not None:
    (tmp_path / "best.json").write_text(content)
  with pytest.raises(UserError, match=r"best\.json.*name a step"):
    best_step(tmp_path)
