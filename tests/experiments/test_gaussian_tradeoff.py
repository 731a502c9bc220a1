"""The Gaussian toy end to end on tiny nets, and its measurements on estimators whose answers are known."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import gaussian_tradeoff, gaussian_training
from experiments.gaussian_training import Settings, State, estimate, init, measure, train, train_step
from prt_jax.errors import UserError

SETTINGS = Settings(width=8, batch_size=16, num_steps=4)
RUNS = gaussian_tradeoff.make_runs((0.0, 5.0), (0.0,), 1)


def leaves(state):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def test_smoke_writes_json_and_figure_and_resumes(tmp_path, capsys):
  workdir = tmp_path / "toy"
  for _ in range(2):
    gaussian_tradeoff.main(["--smoke", f"--workdir={workdir}"])
  results = json.loads((tmp_path / "toy_smoke" / "results" / "gaussian_tradeoff.json").read_text())
  assert len(results["runs"]) == 3
  assert results["violations"] == 0
  assert results["protocol"]["smoke"]
  assert {"command", "hardware", "spearman"} <= results.keys()
  assert (tmp_path / "toy_smoke" / "results" / "gaussian_tradeoff.png").exists()
  assert "deterministic estimators with K below a bound" in capsys.readouterr().out


def test_a_run_in_parts_is_the_run_in_one(tmp_path):
  whole = train(SETTINGS, RUNS, tmp_path / "whole", chunk=2)

  def interrupted(*_):
    raise KeyboardInterrupt

  with pytest.MonkeyPatch.context() as patch:
    save = gaussian_training._save
    patch.setattr(gaussian_training, "_save", lambda *arguments: (save(*arguments), interrupted()))
    with pytest.raises(KeyboardInterrupt):
      train(SETTINGS, RUNS, tmp_path / "parts", chunk=2)
  for ours, theirs in zip(leaves(whole), leaves(train(SETTINGS, RUNS, tmp_path / "parts", chunk=2)), strict=True):
    np.testing.assert_array_equal(ours, theirs)


def test_a_workdir_of_other_settings_is_refused(tmp_path):
  train(SETTINGS, RUNS, tmp_path)
  with pytest.raises(UserError, match=r"settings\.width is 8 there, 9 here"):
    train(SETTINGS._replace(width=9), RUNS, tmp_path)


def test_the_penalty_acts_and_deterministic_runs_see_no_noise():
  state = init(SETTINGS, RUNS)
  run, first = (jax.tree.map(lambda leaf: leaf[0], tree) for tree in (RUNS, state))
  steps = [
    train_step(SETTINGS, run._replace(robust_weight=jnp.float32(weight)), first, 0) for weight in (0.0, 100.0)
  ]
  critics = [leaves(state.critic) for state in steps]
  for ours, theirs in zip(*critics, strict=True):  # the critic's step does not depend on the penalty
    np.testing.assert_array_equal(ours, theirs)
  assert any((ours != theirs).any() for ours, theirs in zip(*(leaves(state.estimator) for state in steps), strict=True))
  stochastic = train_step(SETTINGS, run._replace(stochastic=jnp.float32(1)), first, 0)
  assert any((ours != theirs).any() for ours, theirs in zip(critics[0], leaves(stochastic.critic), strict=True))


def test_runs_of_equal_seed_begin_alike():
  y = jnp.linspace(-1, 1, 5)
  state = init(SETTINGS, RUNS)
  first, second = (
    estimate(SETTINGS, jax.tree.map(lambda leaf, run=run: leaf[run], state.estimator), y, 0 * y) for run in (0, 1)
  )
  np.testing.assert_array_equal(first, second)


def linear_state(slope):
  """An estimator slope * y, made of a width-2 net: relu(y) - relu(-y), three times over."""
  kernels = [[[1, -1], [0, 0]], np.eye(2), np.eye(2), [[slope], [-slope]]]
  params = {
    f"Dense_{layer}": {"kernel": jnp.asarray([kernel], jnp.float32), "bias": jnp.zeros((1, len(kernel[0])))}
    for layer, kernel in enumerate(kernels)
  }
  return State({"params": params}, {}, (), ())


@pytest.mark.parametrize("slope", [0.5, 3.0])
def test_k_and_the_index_of_linear_estimators(slope, monkeypatch):
  monkeypatch.setattr(gaussian_tradeoff, "POINTS", 100)
  runs = gaussian_tradeoff.make_runs((0.0,), (), 1)
  (result,) = gaussian_tradeoff.evaluate(Settings(width=2), runs, linear_state(slope))
  assert result["K"] == pytest.approx(slope, rel=1e-2)
  assert result["above_bound"]
  if slope == 0.5:  # the posterior mean
    reference = gaussian_tradeoff.references(1.0)["posterior_mean"]["joint_index"]["mean"]
    assert result["joint_index"] == pytest.approx(reference, abs=1e-5)


def test_hand_made_estimators_buy_their_index_with_their_slope(monkeypatch):
  monkeypatch.setattr(gaussian_tradeoff, "POINTS", 200)
  reference = gaussian_tradeoff.references(1.0)
  made = reference["hand_made"]
  y = np.linspace(-3, 3, 100_001)
  for one in made:
    slopes = np.diff(gaussian_tradeoff.hand_made(y, 1.0, one["frequency"])) / np.diff(y)
    assert one["K"] == pytest.approx(np.abs(slopes).max(), rel=1e-3)
    assert one["K"] >= reference["m"] / one["joint_index"]["mean"] - 1
  assert made[-1]["joint_index"]["mean"] < made[0]["joint_index"]["mean"]


def test_the_least_deviation_is_the_posterior_means():
  x, y = measure(jax.random.key(0), 200_000, 0.7)
  deviation = np.mean(np.abs(x - y / (1 + 0.7**2)))
  assert gaussian_tradeoff.least_deviation(0.7) == pytest.approx(deviation, rel=1e-2)
  sampled = gaussian_tradeoff.posterior_sample(y, 0.7, 0)
  np.testing.assert_allclose(np.cov(sampled, y), np.cov(x, y), atol=0.02)
