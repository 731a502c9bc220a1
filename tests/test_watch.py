"""A training that is evaluated meanwhile is the same training; its curves are the same however it is interrupted."""

import json
import os
import signal

import jax
import numpy as np
import pytest

import prt_jax
from prt_jax import devices, watch
from prt_jax.config import VARIANTS
from prt_jax.data import prepare
from prt_jax.errors import UserError
from prt_jax.models import NETWORKS
from prt_jax.restorers.from_run import load_run
from prt_jax.training import loop
from prt_jax.training.checkpoints import check_workdir
from prt_jax.training.gan import init_state, make_game
from prt_jax.training.writers import SPEED_SCALARS
from tests.conftest import CACHE
from tests.faults import one_layer


@pytest.fixture(scope="module", autouse=True)
def one_layer_nets():
  """tests/faults/one_layer.py puts its nets in the U-Net's place: for this file alone."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(NETWORKS, "unet", NETWORKS["unet"])
    yield


@pytest.fixture(scope="module")
def make_config(photographs):
  """12 steps with a checkpoint each 4, evaluations after 5, 10 and 12."""

  def make(variant="stochastic-robust", **fields):
    config = one_layer.get_config(variant)
    config.unlock()
    config.data.update(path=str(photographs), cache_dir=str(CACHE))
    config.train.update(num_steps=12, image_every_steps=12, keep_checkpoints=2, milestone_every_steps=4)
    config.eval.update(every_steps=5, watch_examples=4, num_neighbors=1, best_by="psnr_db")
    config.eval.update(fields)
    return config

  return make


def lines(workdir):
  found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  return [{name: value for name, value in line.items() if name not in SPEED_SCALARS} for line in found]


def curve(workdir, name="watch/psnr_db"):
  return {line["step"]: line[name] for line in lines(workdir) if name in line}


def assert_same_state(ours, theirs):
  for a, b in zip(*(jax.tree.leaves(state.replace(key=None)) for state in (ours, theirs)), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def watched(make_config, tmp_path_factory):
  """(workdir, final state) of a run that nothing disturbed."""
  workdir = tmp_path_factory.mktemp("watched") / "run"
  return workdir, prt_jax.train(make_config(), workdir)


def test_an_evaluation_is_written_at_its_steps_and_the_best_is_kept(watched):
  workdir, _ = watched
  found = curve(workdir)
  assert found.keys() == {5, 10, 12}
  evaluated = next(line for line in lines(workdir) if line["step"] == 5)
  names = {"robustness_db", "strong_robustness_db", "per_pixel_std", "critic_margin", "consistency_db", "lipschitz_max"}
  assert {f"watch/{name}" for name in names} <= evaluated.keys()
  assert evaluated["watch/num_examples"] == 4 and evaluated["watch/failed"] == 0
  best = max(found, key=found.get)
  expected = {"step": best, "measure": "psnr_db", "value": found[best], "better": "higher"}
  assert json.loads((workdir / "best.json").read_text()) == expected
  assert load_run(workdir, "best").step == load_run(workdir, -1).step == best
  steps = {int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()}
  assert steps >= {4, 8, 12, best} and len(steps) <= 5


def test_a_run_is_the_same_with_and_without(watched, make_config, tmp_path):
  state = prt_jax.train(make_config(every_steps=0, best_by=""), tmp_path / "run")
  assert_same_state(watched[1], state)
  trained = [line for line in lines(watched[0]) if "watch/psnr_db" not in line]
  assert trained == lines(tmp_path / "run") and len(trained) == 4


@pytest.mark.parametrize(("how", "number"), [("killed", 2), ("stopped", 1)])
def test_interrupted_in_an_evaluation_and_resumed_the_curves_are_the_same(
  how, number, watched, make_config, tmp_path, monkeypatch
):
  """In the evaluation of step 5 or 10; a killed run saves nothing, a stopped one does."""
  workdir, calls = tmp_path / "run", 0
  begin = watch.begin

  def interrupting(runner, dataset, rows):
    nonlocal calls
    calls += 1
    if calls == number and how == "killed":
      raise KeyboardInterrupt
    if calls == number:
      os.kill(os.getpid(), signal.SIGTERM)
    return begin(runner, dataset, rows)

  monkeypatch.setattr(watch, "begin", interrupting)
  if how == "killed":
    with pytest.raises(KeyboardInterrupt):
      prt_jax.train(make_config(), workdir)
  else:
    assert prt_jax.train(make_config(), workdir) is None
    assert load_run(workdir).step == 5 * number
  assert curve(workdir).keys() == {5} - {5 * number}
  state = prt_jax.train(make_config(), workdir)
  assert lines(workdir) == lines(watched[0])
  assert (workdir / "best.json").read_text() == (watched[0] / "best.json").read_text()
  assert_same_state(watched[1], state)
  assert tensorboard(workdir) == pytest.approx(curve(watched[0]))


def test_how_it_is_watched_may_change_in_a_run(watched, make_config, tmp_path):
  """Also in one of before there were these fields."""
  config = make_config(every_steps=7, best_by="robustness_db", watch_examples=8)
  config.train.update(milestone_every_steps=8, wandb_project="prt")
  check_workdir(watched[0], config)
  before = json.loads((watched[0] / "config.json").read_text())
  for group, names in (("train", ("milestone_every_steps", "wandb_project")), ("eval", ("every_steps", "best_by"))):
    for name in names:
      del before[group][name]
  (tmp_path / "config.json").write_text(json.dumps(before))
  check_workdir(tmp_path, config)
  with pytest.raises(UserError, match="step='newest' is no step"):
    load_run(watched[0], "newest")
  with pytest.raises(UserError, match=r"has no best\.json"):
    load_run(tmp_path, "best")


def tensorboard(workdir):
  pytest.importorskip("clu.metric_writers", reason="events are written through CLU and TensorFlow")
  from tensorboard.backend.event_processing import event_accumulator
  from tensorboard.util import tensor_util

  reader = event_accumulator.EventAccumulator(str(workdir)).Reload()
  return {e.step: float(tensor_util.make_ndarray(e.tensor_proto)) for e in reader.Tensors("watch/psnr_db")}


@pytest.fixture(scope="module")
def evaluation(make_config):
  """(Evaluation, state) of a variant, as a run makes it, before its first step."""

  def make(variant, **fields):
    config = make_config(variant, **fields)
    make_watch = watch.prepare_watch(config)
    game = make_game(config, axis_name=devices.AXIS)
    return make_watch(prepare(config.data)).measure, devices.replicate(init_state(game))

  return make


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_evaluated(variant, evaluation):
  measure, state = evaluation(variant)
  found = measure(state, lambda: False)
  assert found["watch/failed"] == 0 and 0 < found["watch/robustness_db"] <= 100
  assert (found["watch/per_pixel_std"] > 0.001) == variant.startswith("stochastic")
  assert measure(state, lambda: True) is None


def test_the_second_evaluation_compiles_nothing(evaluation):
  measure, state = evaluation("stochastic-robust")
  first = measure(state, lambda: False)
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
  )
  assert measure(state, lambda: False) == first
  assert not compiled
  # And nothing measured is kept: it would be another step's.
  moved = state.replace(generator_params=jax.tree.map(lambda leaf: 1.5 * leaf, state.generator_params))
  assert measure(moved, lambda: False)["watch/robustness_db"] != first["watch/robustness_db"]


def test_a_net_that_has_come_apart_does_not_stop_the_run(evaluation, caplog):
  measure, state = evaluation("stochastic-robust")
  broken = state.replace(generator_params=jax.tree.map(lambda leaf: leaf * np.nan, state.generator_params))
  assert measure(broken, lambda: False)["watch/failed"] >= 1


@pytest.mark.parametrize("error", [RuntimeError("of a user's extractor"), PermissionError("cache"), TypeError()])
def test_whatever_an_evaluation_raises_the_run_goes_on(error, evaluation, monkeypatch):
  measure, state = evaluation("deterministic-erratic")

  def begin(*_):
    raise error

  monkeypatch.setattr(watch, "begin", begin)
  assert measure(state, lambda: False) == {"watch/failed": 1.0}


def test_features_are_those_of_the_evaluation(evaluation):
  measure, state = evaluation("deterministic-erratic", feature_extractor="pixels")
  found = measure(state, lambda: False)
  assert found["watch/frechet"] > 0 and {"watch/recall", "watch/precision"} <= found.keys()


@pytest.mark.parametrize(("fields", "message"), [
  ({"best_by": "psnr"}, r"eval\.best_by='psnr' is no measure .* psnr_db"),
  ({"best_by": "restored_maximum"}, r"eval\.best_by='restored_maximum' is no measure of which higher or lower"),
  ({"watch_examples": 9}, r"eval\.watch_examples=9, but .* has 8 validation images"),
  ({"num_neighbors": 4}, r"eval\.num_neighbors=4 needs more"),
])  # fmt: skip
def test_what_cannot_be_evaluated_is_said_before_the_training(fields, message, make_config, tmp_path):
  with pytest.raises(UserError, match=message):
    prt_jax.train(make_config(**fields), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_intervals_must_fit_those_of_dispatches_and_checkpoints(make_config):
  config = make_config(every_steps=100)
  config.train.steps_per_dispatch = 30
  for name in ("log", "checkpoint", "image"):
    config.train[f"{name}_every_steps"] = 300
  config.train.milestone_every_steps = 600
  with pytest.raises(UserError, match=r"eval\.every_steps=100 is not a multiple of the 30 .* for example 90"):
    loop.make_schedule(make_game(config))
  config.eval.every_steps = 90
  config.train.milestone_every_steps = 400
  with pytest.raises(UserError, match=r"milestone_every_steps=400 is not a multiple of train\.checkpoint_every_steps"):
    loop.make_schedule(make_game(config))


def test_a_run_of_several_processes_is_not_evaluated_and_says_so(make_config, monkeypatch, caplog):
  monkeypatch.setattr(devices, "is_alone", lambda: False)
  assert watch.prepare_watch(make_config()) is None
  assert caplog.text.count("this run has several: it is not watched") == 1


def test_its_inputs_are_the_first_of_a_whole_evaluation(make_config):
  config = watch.watch_config(make_config(watch_examples=6, batch_size=256, strong_num_examples=100))
  assert config.eval.num_examples == 6 and config.eval.strong_num_examples == 6
  assert config.eval.batch_size == 8 and config.eval.curve_alphas == ()  # over four devices
