"""The toy GANs end to end on a tiny net: the contract's JSON, resuming, and one training code with the images."""

import argparse
import json

import jax
import numpy as np
import pytest

from experiments import toy_gans, two_ellipses, upper_bound
from experiments.toy_evaluation import evaluate, second_coordinate
from experiments.toy_runs import SCORES, SMOKE_FIELDS, Run, evaluated, summarise
from experiments.training import checkpoint_steps, train
from prt_jax.errors import UserError
from prt_jax.restorers.from_run import load_run
from prt_jax.training.loop import interval_means

RUN = Run("ErraticGAN", 0)
# Recorded from the training loop that the experiments once had of their own: {estimator: (seed, fields, means of
# scalars over steps 7 to 12, outputs at four y and z = 1/2)}.
RECORDED = {
  "StoGAN": (1, {}, {
    "critic_loss": 1.3889355659484863, "critic_real": -0.11693360656499863, "critic_fake": -0.11858164519071579,
    "critic_gradient_norm": 0.07517654448747635, "generator_loss": 0.753925085067749, "r1": 0.00013595231575891376,
    "generator_gradient_norm": 0.004000962246209383,
  }, [0.20185115933418274, 0.19286315143108368, 0.19519317150115967, 0.20724202692508698]),
  # eps: a change of the output that float32 resolves.
  "RobustStoGAN": (2, {"attack.num_seeds": 2, "optim.robust_every_steps": 3, "attack.eps": 0.3}, {
    "critic_loss": 1.385684847831726, "critic_real": -0.049768272787332535, "critic_fake": -0.05229093134403229,
    "critic_gradient_norm": 0.05520024523139, "generator_loss": 0.7194795608520508, "r1": 0.00023402321676257998,
    "generator_gradient_norm": 0.01856672763824463, "robustness_loss": 8.392366908083204e-07,
  }, [-0.1863030195236206, -0.17896270751953125, -0.17297959327697754, -0.17264115810394287]),
}  # fmt: skip


def parameters(workdir, step):
  state = load_run(workdir, step).state
  return [np.asarray(leaf) for leaf in jax.tree.leaves((state.generator_params, state.critic_optimizer))]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
  """The results of --smoke in a folder of its own."""
  workdir = tmp_path_factory.mktemp("toys") / "runs"
  toy_gans.main(["--smoke", f"--workdir={workdir}"])
  return workdir


def test_smoke_writes_the_contracts_json(smoke):
  results = json.loads((smoke.with_name("runs_smoke") / "results" / "toy_gans.json").read_text())
  for name in ("ErraticGAN", "RobustGAN", "StoGAN", "RobustStoGAN", "Robust", "Erratic"):
    scores = results["estimators"][name]
    assert 0 <= scores["precision"] <= 1
    assert 0 <= scores["recall"] <= 1
    assert scores["sqrt_R_1e-3"] > 0
    assert scores["recall_spread"]["count"] == 1
  assert results["published"]["ErraticGAN"] == [1.0, 0.224, 3.62]
  assert results["protocol"]["smoke"]
  assert results["verdict"]["posterior_sampler_sqrt_R_1e-3"] == pytest.approx(0.577, abs=0.002)
  assert {"command", "hardware", "seeds"} <= results.keys()


def test_the_upper_bound_holds_on_the_trained_nets(smoke):
  upper_bound.main(["--smoke", f"--workdir={smoke}"])
  results = json.loads((smoke.with_name("runs_smoke") / "results" / "upper_bound.json").read_text())
  for runs in results["gans"].values():
    for run in runs:
      assert 0 < run["ratio"] <= 1 + 1e-9
      assert run["largest_excess"] <= 1e-12


def test_a_run_in_two_parts_is_the_run_in_one_bit_for_bit(tmp_path):
  config = RUN.config(SMOKE_FIELDS)
  train(config, tmp_path / "whole", 12)
  train(config, tmp_path / "parts", 6)
  train(config, tmp_path / "parts", 12)
  for whole, parts in zip(parameters(tmp_path / "whole", 12), parameters(tmp_path / "parts", 12), strict=True):
    np.testing.assert_array_equal(whole, parts)


def test_any_number_of_steps_is_reached_and_the_run_goes_on_from_there(tmp_path):
  """A dispatch is of 6 steps."""
  config = RUN.config(SMOKE_FIELDS)
  train(config, tmp_path / "run", 8)
  assert checkpoint_steps(tmp_path / "run") == [6, 8]
  train(config, tmp_path / "run", 12)
  train(config, tmp_path / "whole", 12)
  for whole, parts in zip(parameters(tmp_path / "whole", 12), parameters(tmp_path / "run", 12), strict=True):
    np.testing.assert_allclose(whole, parts, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("estimator", RECORDED)
def test_a_training_is_the_one_of_the_published_numbers(estimator, tmp_path):
  """Other data, noise, order or attack starts move some of these means by a multiple of the tolerance."""
  seed, fields, scalars, outputs = RECORDED[estimator]
  train(Run(estimator, seed).config(SMOKE_FIELDS | fields), tmp_path / "run", 12)
  trained = load_run(tmp_path / "run")
  found = interval_means(trained.state)
  assert {name: found[name] for name in scalars} == pytest.approx(scalars, rel=5e-4)
  y = np.linspace(-0.9, 0.9, 4, dtype=np.float32)[:, None]
  z = (np.full_like(y, 0.5),)
  found = second_coordinate(trained.game.generator)(trained.state.generator_params, y, z)[:, 0]
  np.testing.assert_allclose(found, outputs, atol=2e-5)


def test_collecting_trains_nothing(tmp_path):
  assert evaluated(RUN, tmp_path, 12) == {}
  with pytest.raises(UserError, match="holds no run of 3600 steps"):
    toy_gans.main(["--collect", f"--workdir={tmp_path}", "--seeds=1"])


def test_ellipses_train_too(tmp_path):
  two_ellipses.main(["--smoke", f"--workdir={tmp_path / 'runs'}"])
  results = json.loads((tmp_path / "runs_smoke" / "results" / "two_ellipses.json").read_text())
  assert results["estimators"].keys() == {*two_ellipses.PUBLISHED, *two_ellipses.GANS}
  assert results["geometry"]["hole_axes"] == [0.3, 0.7]


def test_configs_are_the_papers():
  config = Run("RobustStoGAN", 3).config()
  assert (config.model.width, config.attack.num_seeds, config.attack.eps, config.seed) == (512, 50, 1e-3, 3)
  assert (config.optim.b1, config.optim.b2, config.optim.r1_weight, config.train.num_steps) == (0, 0.9, 10, 20_000)
  assert Run("RobustGAN", 0).config().attack.num_seeds == 1
  assert Run("StoGAN", 0).config().optim.robust_weight == 0
  assert Run("RobustGAN", 1, (("optim.robust_weight", 20.0),)).name == "RobustGAN-robust_weight=20.0-seed1"


def test_the_plan_holds_every_run_once_and_changes_what_it_says():
  args = argparse.Namespace(seeds=5, sweep_seeds=1, reading_seeds=1)
  rows = toy_gans.plan(args)
  runs = [run for row in rows for run in row.runs()]
  assert len(runs) == len({run.name for run in runs}) == 4 * 5 + len(toy_gans.SWEEP) + len(toy_gans.READINGS)
  default = Run("RobustGAN", 0).config().optim.robust_weight
  assert default not in toy_gans.SWEEP
  assert {row.runs()[0].config().optim.robust_weight for row in rows if row.part == "weight_sweep"} == {*toy_gans.SWEEP}
  every_step = next(row for row in rows if row.name == "a third of the weight, every step").runs()[0].config()
  assert every_step.optim.robust_weight / every_step.optim.robust_every_steps == pytest.approx(default / 3)


def test_a_run_counts_by_its_mean_over_checkpoints():
  scores = [dict.fromkeys(SCORES, value) for value in (1, 3, 5)]
  summary = summarise([{100: scores[0], 200: scores[1]}, {100: scores[2], 200: scores[2]}])
  assert summary["recall"] == 3.5  # (2 + 5) / 2
  assert summary["recall_spread"]["per_run"] == [2, 5]
  assert summary["recall_spread"]["std_in_run"] == pytest.approx(2**0.5 / 2)


def test_evaluation_of_an_untrained_net_is_a_thin_curve(tmp_path):
  config = RUN.config(SMOKE_FIELDS)
  train(config, tmp_path / "run", 6)
  scores = evaluate(load_run(tmp_path / "run", 6), points=200, sets=2, measurements=200)
  assert scores["recall"] < 0.2
  assert scores["sqrt_R_exact_1e-3"] >= scores["sqrt_R_1e-3"] * (1 - 1e-3)
