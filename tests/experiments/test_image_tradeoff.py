"""The sweep on images: its configs, its joint index on a restorer whose answer is known, its command."""

import json
import types

import numpy as np
import pytest

from experiments import image_tradeoff
from experiments.fields import parse_fields
from prt_jax.errors import UserError
from prt_jax.features.extractors import make_extractor
from prt_jax.restorers import Restorer
from prt_jax.training.checkpoints import Checkpoints, claim_workdir
from prt_jax.training.gan import init_state, make_game
from prt_jax.training.trained_estimator import Weights, run_restorer
from tests.conftest import CACHE

RESULTS = (
  "lipschitz_median", "lipschitz_max", "strong_lipschitz_median", "strong_lipschitz_max", "consistency_db",
  "robustness_db", "psnr_db", "frechet",
)  # fmt: skip


def train_nothing(config, workdir):
  """Stands for train.train, which has tests of its own and is compiled for a minute: saves the initial networks."""
  claim_workdir(workdir, config)
  state = init_state(make_game(config)).replace(step=np.int32(config.train.num_steps))
  checkpoints = Checkpoints(workdir, 1)
  checkpoints.save(state)
  checkpoints.close()
  return state


def test_the_command_sweeps_and_writes_json_and_figure(photographs, tmp_path, monkeypatch):
  monkeypatch.setattr(image_tradeoff, "train", train_nothing)
  report = {"step": 4, "results": {name: {"value": 1.0} for name in RESULTS}}
  monkeypatch.setattr(image_tradeoff.evaluate, "evaluate", lambda config, workdir: report)
  image_tradeoff.main([
    "--smoke", f"--workdir={tmp_path / 'runs'}", "--weights", "0", "500", "--stochastic_weights", "500",
    "--noise_stds", "0.05",
    "--set", "data.source=folder", f"data.path={photographs}", f"data.cache_dir={CACHE}",
  ])
  results = json.loads((tmp_path / "runs_smoke" / "results" / "image_tradeoff.json").read_text())
  assert [(run["randomness"], run["robust_weight"]) for run in results["runs"]] == [
    ("deterministic", 0), ("deterministic", 500), ("stochastic", 500),
  ]  # fmt: skip
  assert {(run["noise_std"], run["consistency"], run["step"]) for run in results["runs"]} == {(0.05, "statistical", 4)}
  assert all(run["K_median"] > 0 and np.isfinite(run["sqrt_joint_frechet"]) for run in results["runs"])
  assert (tmp_path / "runs_smoke" / "results" / "image_tradeoff.png").exists()


def test_the_index_of_a_restorer_that_returns_the_original_is_zero(tiny_config):
  game = make_game(tiny_config)
  tiny_config.eval.feature_extractor = "pixels"
  extractor = make_extractor(tiny_config.eval, CACHE)
  images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
  run = run_restorer(game, Weights.of(init_state(game)), "run")
  halving = types.SimpleNamespace(degrade=lambda x, keys: x / 2, clean=lambda x: x / 2, network_input=lambda y: y)
  original = Restorer("original", lambda params, y, z: 2 * y, degradation=halving)
  worse = image_tradeoff.joint_index(run, extractor, images, 4)
  assert image_tradeoff.joint_index(original, extractor, images, 4) < 1e-2 < worse


def test_changes_reach_the_config_and_mistakes_are_named():
  changes = parse_fields(["data.path=a/b", "train.batch_size=8", "optim.decay_steps=[1, 2]"])
  run = image_tradeoff.SweepRun("deterministic", 5.0, 0.05, 3)
  config = run.make_config("sr4", True, changes)
  assert (config.data.path, config.train.batch_size, config.optim.robust_weight) == ("a/b", 8, 5.0)
  assert (config.degradation.factor, config.degradation.noise_std, config.model.stochastic) == (4, 0.05, False)
  assert (config.seed, config.degradation.consistency) == (3, "statistical")
  stochastic = run._replace(randomness="stochastic", noise_std=0.0).make_config("sr4", True, changes)
  assert (stochastic.model.stochastic, stochastic.degradation.consistency) == (True, "exact")
  asked = run.make_config("sr4", True, {"degradation.consistency": "exact"})
  assert asked.degradation.consistency == "exact"
  with pytest.raises(UserError, match="sr5"):
    run.make_config("sr5", True, {})


def test_the_figure_draws_means_over_seeds_and_each_run(tmp_path, monkeypatch):
  shown = []
  monkeypatch.setattr(image_tradeoff, "save_figure", lambda figure, folder, name: shown.append(figure))
  runs = [
    {
      "randomness": randomness, "robust_weight": weight, "noise_std": 0.05, "seed": seed, "joint_features": "pixels",
      "sqrt_joint_frechet": 10 + weight + seed, "K_median": 5 + 2 * seed,
    }
    for randomness in ("deterministic", "stochastic") for weight in (0.0, 50.0) for seed in (0, 1)
  ]  # fmt: skip
  image_tradeoff.draw_figure(runs[:-1], tmp_path)  # one of the stochastic runs is not there yet
  (axes,) = shown[0].axes
  line, single = axes.lines[:2]
  np.testing.assert_allclose(line.get_xydata(), [[10.5, 6], [60.5, 6]])
  np.testing.assert_allclose(sorted(map(tuple, single.get_xydata())), [(10, 5), (11, 7), (60, 5), (61, 7)])
  assert len(axes.texts) == 4
