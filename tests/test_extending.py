"""docs/extending.md does what it says: each block is a file, which is imported and used as it stands."""

import importlib
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from prt_jax import evaluate
from prt_jax.audit import command_line
from prt_jax.degradations import DEGRADATIONS, Degradation, make_degradation
from prt_jax.training import loop
from tests.conftest import ROOT

BLOCKS = {
  code.partition("\n")[0].removeprefix("# "): code
  for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL)
}


@pytest.fixture
def written(tmp_path, monkeypatch):
  """A folder with every block as a file, on Python's path."""
  for name, code in BLOCKS.items():
    (tmp_path / name).write_text(code)
  monkeypatch.syspath_prepend(tmp_path)
  yield tmp_path
  for name in BLOCKS:
    sys.modules.pop(name.removesuffix(".py"), None)


@pytest.mark.parametrize("name", BLOCKS)
def test_each_block_is_a_file_of_at_most_forty_lines(name, written):
  assert re.fullmatch(r"[a-z_]+\.py", name), f"a block's first line is '# NAME.py', not {name}"
  assert len(BLOCKS[name].splitlines()) - 1 <= 40
  importlib.import_module(name.removesuffix(".py"))


def test_a_degradation_measures_and_projects(written):
  fields = {"kind": "cubic:Cubic", "factor": 4, "noise_std": 0.0}
  degradation = make_degradation(fields, 64)
  assert isinstance(degradation, Degradation)
  assert (degradation.title, degradation.measurement_shape) == ("bicubic super-resolution x4", (16, 16, 3))
  rng = np.random.default_rng(0)
  coarse = Image.fromarray(rng.integers(64, 192, (8, 8, 3), dtype=np.uint8))
  image = coarse.resize((64, 64), Image.Resampling.BICUBIC)
  y = degradation.degrade(np.asarray(image, np.float32)[None] / 255)
  pillows = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC), np.float32) / 255
  assert np.abs(y[0] - pillows).max() < 1 / 255
  g = rng.uniform(size=(1, 64, 64, 3)).astype(np.float32)
  x = degradation.project(g, y)
  assert np.abs(degradation.clean(x) - y).max() < 2e-6
  np.testing.assert_allclose(degradation.project(x, y), x, atol=2e-6)
  # The nearest consistent image: what was changed is orthogonal to whatever D does not see.
  moved, unseen = np.asarray(x - g), np.asarray(degradation.project(g, np.zeros_like(y)))
  assert abs(np.sum(moved * unseen)) < 1e-5 * np.linalg.norm(moved) * np.linalg.norm(unseen)
  # One line in the registry gives it a short name.
  from cubic import Cubic

  DEGRADATIONS["cubic"] = Cubic
  try:
    assert make_degradation(fields | {"kind": "cubic"}, 64) == degradation
  finally:
    del DEGRADATIONS["cubic"]


def test_a_degradation_trains_is_evaluated_and_audited(written, tiny_config, photographs, tmp_path):
  tiny_config.degradation.kind = "cubic:Cubic"
  tiny_config.model.stochastic = False
  tiny_config.optim.robust_weight = 0.0
  tiny_config.train.num_steps = 2
  tiny_config.eval.update(num_examples=8, batch_size=8, feature_extractor="pixels", strong_num_examples=0)
  workdir = tmp_path / "run"
  loop.train(tiny_config, workdir)
  report = evaluate.evaluate(tiny_config, workdir)
  assert report["task"] == "bicubic super-resolution x16, folder 32x32"
  assert report["results"]["consistency_db"]["value"] > 90
  command_line.main([
    f"--restorer={workdir}", f"--input={photographs / 'val'}", f"--output={tmp_path / 'audit'}",
    "--alphas=8", "--num_steps=1", "--num_jacobian_steps=0", "--max_images=1",
  ])
  audited = json.loads((tmp_path / "audit" / "report.json").read_text())
  assert audited["restorer"] == "run (step 2)" and audited["consistency_db"] > 90
