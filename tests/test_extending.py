"""docs/extending.md does what it says: each block is a file, which is imported and used as it stands."""

import importlib
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from configs import toy_disk
from prt_jax import evaluate
from prt_jax.attacks.table import ATTACKS
from prt_jax.audit import command_line
from prt_jax.config import load
from prt_jax.data import SOURCES, prepare
from prt_jax.degradations import DEGRADATIONS, Degradation, make_degradation
from prt_jax.errors import UserError
from prt_jax.evaluation.distributions import SETS
from prt_jax.evaluation.measures import MEASURES
from prt_jax.models import NETWORKS, Players
from prt_jax.plan.needs import data_needs
from prt_jax.training.data_identity import check_data
from prt_jax.training.gan import init_state, make_game
from prt_jax.training.loop import train
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
  registries = DEGRADATIONS, NETWORKS, SOURCES, MEASURES, SETS, ATTACKS
  before = [dict(registry) for registry in registries]
  yield tmp_path
  for registry, rows in zip(registries, before, strict=True):
    registry.clear()
    registry.update(rows)
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
  assert make_degradation(fields | {"kind": "cubic"}, 64) == degradation


def test_a_degradation_trains_is_evaluated_and_audited(written, tiny_config, photographs, tmp_path):
  tiny_config.degradation.kind = "cubic:Cubic"
  tiny_config.model.stochastic = False
  tiny_config.optim.robust_weight = 0.0
  tiny_config.train.num_steps = 2
  tiny_config.eval.update(num_examples=8, batch_size=8, feature_extractor="pixels", strong_num_examples=0)
  workdir = tmp_path / "run"
  train(tiny_config, workdir)
  report = evaluate.evaluate(tiny_config, workdir)
  assert report["task"] == "bicubic super-resolution x16, folder 32x32"
  assert report["results"]["consistency_db"]["value"] > 90
  command_line.main([
    f"--restorer={workdir}", f"--input={photographs / 'val'}", f"--output={tmp_path / 'audit'}",
    "--alphas=8", "--num_steps=1", "--num_jacobian_steps=0", "--max_images=1",
  ])
  audited = json.loads((tmp_path / "audit" / "report.json").read_text())
  assert audited["restorer"] == "run (step 2)" and audited["consistency_db"] > 90


def test_a_restorer_measures_and_an_attack_are_audited(written, tmp_path):
  """Pixel replication of a constant's change: every draw is known without the audit."""
  rng = np.random.default_rng(0)
  (written / "images").mkdir()
  for name in "ab":
    Image.fromarray(rng.integers(64, 192, (64, 64, 3), dtype=np.uint8)).save(written / "images" / f"{name}.png")
  command_line.main([
    "--restorer=nearest:enlarge", f"--input={written / 'images'}", f"--output={tmp_path / 'audit'}", "--scale=4",
    "--alphas=8", "--num_steps=4", "--num_strong_steps=0", "--num_jacobian_steps=0", "--min_images=2",
    "--num_neighbors=1",
  ])
  report = json.loads((tmp_path / "audit" / "report.json").read_text())
  assert {"edge_psnr_db", "energy_distance"} <= report["results"].keys() & report["definitions"].keys()
  originals = [Image.open(written / "images" / f"{name}.png") for name in "ab"]
  enlarged = [
    image.resize((16, 16), Image.Resampling.BICUBIC).resize((64, 64), Image.Resampling.NEAREST) for image in originals
  ]
  x, restored = (np.stack([np.asarray(image) / 255 for image in images]) for images in (originals, enlarged))
  expected = np.mean(-10 * np.log10(np.mean(np.diff(restored - x, axis=2) ** 2, (1, 2, 3))))
  assert report["results"]["edge_psnr_db"]["value"] == pytest.approx(expected, abs=0.05)
  # Each pixel is shown 16 times: a corner of the bound changes the picture as much as its measurement.
  (point,) = report["curves"]["corners"]
  results = {name: result["value"] for name, result in point["results"].items()}
  assert results["input_psnr_db"] == pytest.approx(-20 * np.log10(8 / 255), abs=1e-3)
  assert results["output_psnr_db"] == pytest.approx(results["input_psnr_db"], abs=1e-3)
  assert results["lipschitz_worst_draw_max"] == pytest.approx(4, rel=1e-4)


def test_a_plain_network_trains_is_evaluated_and_audited(written, tiny_config, photographs, tmp_path):
  importlib.import_module("plain")
  tiny_config.model.kind = "plain"
  tiny_config.train.num_steps = 6
  tiny_config.eval.update(
    num_examples=8, batch_size=8, feature_extractor="pixels", num_std_seeds=3,
    strong_num_examples=2, strong_num_steps=1, strong_num_restarts=0,
  )  # fmt: skip
  before = init_state(make_game(tiny_config))
  state = train(tiny_config, tmp_path / "run")
  assert int(state.step) == 6
  moved = np.abs(before.generator_params["Conv_0"]["kernel"] - state.generator_params["Conv_0"]["kernel"]).max()
  assert 1e-4 < moved < 1
  # The running averages are those of the plain pass, over all devices.
  assert np.abs(state.batch_stats["BatchNorm_0"]["mean"]).max() > 0
  report = evaluate.evaluate(tiny_config, tmp_path / "run")
  assert report["results"]["per_pixel_std"]["value"] > 0
  assert report["results"]["consistency_db"]["value"] == 100
  command_line.main([
    f"--restorer={tmp_path / 'run'}", f"--input={photographs / 'val'}", f"--output={tmp_path / 'out'}",
    "--alphas=8", "--num_steps=2", "--num_seeds=2", "--num_jacobian_steps=1", "--max_images=1",
  ])
  assert json.loads((tmp_path / "out" / "report.json").read_text())["lipschitz_lower_bound"] > 0


def test_a_network_of_another_shape_is_refused(written, tiny_config, monkeypatch):
  networks = importlib.import_module("plain")
  generator, critic = networks.PlainGenerator, networks.PlainCritic

  class Grey(generator):
    def __call__(self, x, z, train):
      return super().__call__(x, z, train)[:, ::2, ::2]

  class Scores(critic):
    def __call__(self, x):
      return super().__call__(x)[:, None]

  for players, message in (
    (Players(Grey(2), critic(2), ((32, 32, 1),)), r"model.kind='plain': its generator gives \(1, 16, 16, 3\)"),
    (Players(generator(2), Scores(2), ((32, 32, 1),)), r"model.kind='plain': its critic gives \(1, 1\)"),
  ):
    monkeypatch.setitem(NETWORKS, "plain", lambda *_, players=players, **__: players)
    tiny_config.model.kind = "plain"
    with pytest.raises(UserError, match=message):
      init_state(make_game(tiny_config))


def test_a_source_of_images_is_read_once_planned_and_trained_on(written, tiny_config, tmp_path, monkeypatch):
  config = load(f"{written / 'mine.py'}:stochastic-robust")
  assert (config.model.kind, config.data.source) == ("plain", "stripes")
  stripes = importlib.import_module("stripes")
  tiny_config.data.update(source="stripes", path="", cache_dir=str(tmp_path / "cache"))
  counts, need, is_prepared = data_needs(tiny_config.data)
  assert (counts, need.state, is_prepared) == ({"train": 24, "val": 8}, "there", False)
  dataset = prepare(tiny_config.data)
  assert dataset.train.shape == (24, 32, 32, 3)
  # Stripes: what varies from left to right does not vary from top to bottom, or the other way round.
  assert (dataset.train == dataset.train[:, :1]).all() and dataset.train.std(2).max() > 10
  monkeypatch.setattr(stripes, "read", None)
  np.testing.assert_array_equal(prepare(tiny_config.data).val, dataset.val)
  assert data_needs(tiny_config.data)[2]


def test_a_source_that_draws_is_trained_on(written, tmp_path):
  importlib.import_module("circle")
  config = toy_disk.get_config("deterministic-erratic,demo").unlock()
  config.data.update(source="circle", cache_dir=str(tmp_path / "cache"))
  config.model.update(width=4, critic_width=4)
  config.train.update(
    num_steps=4, batch_size=8, steps_per_dispatch=1, log_every_steps=4, checkpoint_every_steps=4, image_every_steps=4
  )
  assert int(train(config, tmp_path / "run").step) == 4
  assert not (tmp_path / "cache").exists()
  other, again = prepare(config.data, 1), prepare(config.data, 1)
  np.testing.assert_allclose(np.hypot(*other.train.T), 0.9, rtol=1e-6)
  np.testing.assert_array_equal(other.train, again.train)
  with pytest.raises(UserError, match=r"holds a run on other data .* other training and validation images"):
    check_data(tmp_path / "run", other)
