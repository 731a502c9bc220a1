"""A run read back from its workdir: its own numbers, at the step that was asked for, and no other run's."""

import json

import jax
import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.restorers.from_run import load_run
from prt_jax.training import gan
from prt_jax.training.checkpoints import Checkpoints, claim_workdir
from prt_jax.training.gan import init_state, make_game


@pytest.fixture
def workdir(tiny_config, tmp_path):
  """Checkpoints of steps 2 and 4, which differ in their step and in one array alone."""
  claim_workdir(tmp_path / "run", tiny_config)
  checkpoints, state = Checkpoints(tmp_path / "run", 3), init_state(make_game(tiny_config))
  for step in (2, 4):
    moved = jax.tree.map(lambda leaf, step=step: leaf + step, state.generator_params)
    checkpoints.save(state.replace(step=np.int32(step), generator_params=moved))
  checkpoints.close()
  return tmp_path / "run"


def test_a_run_comes_back_bit_for_bit_and_nothing_is_initialised_for_it(workdir, tiny_config, monkeypatch):
  saved = init_state(make_game(tiny_config))
  monkeypatch.setattr(gan, "init_state", None)
  for step, wanted in ((0, 4), (2, 2)):
    run = load_run(workdir, step)
    assert run.step == int(run.state.step) == wanted
    moved = jax.tree.map(lambda leaf, wanted=wanted: leaf + wanted, saved.generator_params)
    saved_trees = moved, saved.critic_params, saved.batch_stats, saved.generator_optimizer
    found_trees = (
      run.state.generator_params, run.state.critic_params, run.state.batch_stats, run.state.generator_optimizer
    )
    jax.tree.map(np.testing.assert_array_equal, saved_trees, found_trees)
    assert json.loads(run.config.to_json()) == json.loads(tiny_config.to_json())
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(run.weights))
  assert jax.random.key_data(run.state.key).tolist() == jax.random.key_data(saved.key).tolist()


def test_the_newest_that_is_whole_is_taken_and_a_named_one_is_not_replaced(workdir):
  victim = max((workdir / "checkpoints" / "4" / "default").rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
  victim.write_bytes(b"0" * victim.stat().st_size)
  assert load_run(workdir).step == 2
  with pytest.raises(UserError, match="cannot read checkpoint"):
    load_run(workdir, 4)
  with pytest.raises(UserError, match="holds steps 2, 4"):
    load_run(workdir, 3)


def test_a_config_of_ones_own_may_differ_in_what_is_free_alone(workdir, tiny_config):
  tiny_config.eval.num_examples = 7
  assert load_run(workdir, config=tiny_config).config.eval.num_examples == 7
  tiny_config.model.width = 4
  with pytest.raises(UserError, match=r"model\.width is 2 there, 4 here"):
    load_run(workdir, config=tiny_config)


def test_a_folder_without_a_run_is_left_as_it_is(tiny_config, tmp_path):
  for config in (None, tiny_config):
    with pytest.raises(UserError, match="is no workdir of a training run"):
      load_run(tmp_path / "nothing", config=config)
  assert not (tmp_path / "nothing").exists()
