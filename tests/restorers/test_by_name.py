"""What --restorer can name besides a published network: the workdir of a training run, a function, a module."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.audit import audit
from prt_jax.errors import UserError
from prt_jax.restorers import Restorer
from prt_jax.restorers.by_name import load_restorer
from prt_jax.restorers.restorer import as_restorer
from prt_jax.training.checkpoints import Checkpoints, claim_workdir
from prt_jax.training.gan import init_state, make_game


def trained(workdir, config):
  """A workdir as a run leaves it, with the state before the first step."""
  claim_workdir(workdir, config)
  checkpoints = Checkpoints(workdir, 1)
  state = init_state(make_game(config))
  checkpoints.save(state)
  checkpoints.close()
  return state


@pytest.mark.parametrize("stochastic", [True, False])
def test_a_workdir_restores_consistently(stochastic, tiny_config, tmp_path):
  tiny_config.model.stochastic = stochastic
  tiny_config.attack.num_seeds = 2 if stochastic else 1
  trained(tmp_path / "run", tiny_config)
  restorer = load_restorer(str(tmp_path / "run"))
  assert restorer.name == "run (step 0)"
  assert restorer.stochastic == stochastic
  assert restorer.image_size == 32
  y = jax.random.uniform(jax.random.key(0), (2, 2, 2, 3))
  z = restorer.noise(jax.random.split(jax.random.key(1), 2), y.shape[1:], 3)
  x = jax.vmap(restorer.restore, (None, 0))(y, z)
  assert x.shape == (3 if stochastic else 1, 2, 32, 32, 3)
  for draw in x:
    np.testing.assert_allclose(restorer.degrade(draw), y, atol=1e-5)
  if stochastic:
    assert np.abs(x[0] - x[1]).max() > 1e-6


def test_a_checkpoint_of_a_workdir_is_named(tiny_config, tmp_path):
  claim_workdir(tmp_path, tiny_config)
  checkpoints = Checkpoints(tmp_path, 2)
  for step in (8, 16):
    checkpoints.save(init_state(make_game(tiny_config)).replace(step=np.int32(step)))
  checkpoints.close()
  found = {checkpoint: load_restorer(str(tmp_path), checkpoint=checkpoint).name for checkpoint in (None, "8", "16")}
  assert [name.partition("step ")[2] for name in found.values()] == ["16)", "8)", "16)"]
  with pytest.raises(UserError, match=r"--checkpoint=weights\.pth: of a workdir give a step"):
    load_restorer(str(tmp_path), checkpoint="weights.pth")
  with pytest.raises(UserError, match="best"):
    load_restorer(str(tmp_path), checkpoint="best")


def test_a_workdir_is_audited_on_a_folder(tiny_config, photographs, tmp_path):
  from prt_jax.audit import command_line

  trained(tmp_path / "run", tiny_config)
  command_line.main([
    f"--restorer={tmp_path / 'run'}", f"--input={photographs / 'val'}", f"--output={tmp_path / 'out'}",
    "--alphas=8", "--num_steps=2", "--num_seeds=2", "--num_jacobian_steps=1", "--max_images=1",
  ])
  report = json.loads((tmp_path / "out" / "report.json").read_text())
  assert report["stochastic"]
  assert report["consistency_db"] == 100  # by projection, at the cap
  assert report["lipschitz_lower_bound"] > 0


def test_a_run_of_before_a_field_goes_on(tiny_config, tmp_path):
  trained(tmp_path / "run", tiny_config)
  path = tmp_path / "run" / "config.json"
  older = json.loads(path.read_text())
  del older["model"]["noise_scale"], older["model"]["precision"]
  del older["degradation"]["blur_sigma"], older["degradation"]["quality"]
  path.write_text(json.dumps(older))
  claim_workdir(tmp_path / "run", tiny_config)
  assert load_restorer(str(tmp_path / "run")).stochastic
  tiny_config.model.noise_scale = 0.5
  with pytest.raises(UserError, match=r"model.noise_scale is 1\.0 there, 0\.5 here"):
    claim_workdir(tmp_path / "run", tiny_config)
  path.write_text("{}")
  with pytest.raises(UserError, match="is not the config of a training run"):
    load_restorer(str(tmp_path / "run"))


def test_a_workdir_without_a_checkpoint(tiny_config, tmp_path):
  claim_workdir(tmp_path / "run", tiny_config)
  with pytest.raises(UserError, match=r"no checkpoint in .*train the run first"):
    load_restorer(str(tmp_path / "run"))


def test_a_module_that_fails_to_import_is_quoted_with_its_line(tmp_path, monkeypatch):
  (tmp_path / "broken_restorer.py").write_text("x = 1\nraise RuntimeError('no weights here')\n")
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(UserError, match=r"RuntimeError: no weights here, .*broken_restorer\.py:2"):
    load_restorer("broken_restorer:restore")


def test_what_a_name_can_stand_for(tmp_path, monkeypatch):
  (tmp_path / "own_restorers.py").write_text(
    "from prt_jax.restorers import Restorer\n"
    "ready = Restorer('ready', lambda params, y, z: y)\n"
    "def of_y(y):\n  return 2 * y\n"
    "number = 3\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  assert load_restorer("own_restorers:ready").name == "ready"
  np.testing.assert_array_equal(load_restorer("own_restorers:of_y").restore(jnp.ones(3), None), 2)
  with pytest.raises(UserError, match="is no restorer"):
    load_restorer("own_restorers:number")


def test_functions_by_their_arguments():
  assert as_restorer(lambda y: y + 1).restore(1, None) == 2
  assert as_restorer(lambda y, z: y + z, draw_noise=lambda *_: None).stochastic
  restorer = Restorer("r", lambda params, y, z: y)
  assert as_restorer(restorer) is restorer
  with pytest.raises(UserError, match=r"r: apply takes \(params, y, z\); .*as_restorer"):
    Restorer("r", lambda y, z: y)
  assert jax.tree.leaves(restorer.noise(jax.random.split(jax.random.key(0), 4), (8, 8, 3), 7))[0].shape == (1, 4)


class Gain:
  def __call__(self, y, gain=3.0):
    return gain * y

  def method(self, y, gain=3.0, *, offset=0.0):
    return gain * y + offset


def with_default(y, gain=3.0):
  return gain * y


@pytest.mark.parametrize(
  "function",
  [
    with_default, Gain(), Gain().method, functools.partial(lambda y, gain: gain * y, gain=3.0), jax.jit(with_default),
    lambda y, with_default=with_default: with_default(y), lambda *arguments: with_default(*arguments),
    lambda y, *rest, **more: with_default(y, *rest, **more),
  ],
)
def test_an_optional_second_argument_is_no_noise(function):
  restorer = as_restorer(function)
  assert not restorer.stochastic
  assert restorer.restore(2.0, restorer.noise(jax.random.split(jax.random.key(0), 1), (8, 8, 3), 1)) == 6
  # K is the gain: with zeros for it, it would be 0.
  report = audit(function, np.full((1, 8, 8, 3), 0.5, np.float32), alphas=(0.01,), num_steps=2, num_jacobian_steps=0)
  assert report["lipschitz_lower_bound"] == pytest.approx(3, rel=1e-3)


def test_an_optional_second_argument_is_noise_where_draw_noise_says_so():
  draw_noise = lambda keys, shape, seeds: jnp.full((seeds, len(keys), 1, 1, 1), 5.0)  # noqa: E731
  restorer = as_restorer(with_default, draw_noise=draw_noise)
  assert restorer.restore(2.0, restorer.noise(jax.random.split(jax.random.key(0), 1), (8, 8, 3), 1)[0]) == 10


def test_an_optional_second_argument_by_the_command(tmp_path, monkeypatch):
  (tmp_path / "optional_gain.py").write_text("def restore(y, gain=3.0):\n  return gain * y\n")
  monkeypatch.syspath_prepend(tmp_path)
  restorer = load_restorer("optional_gain:restore")
  np.testing.assert_array_equal(restorer.restore(jnp.ones(2), jnp.zeros(2)), 3)
  assert not restorer.stochastic


@pytest.mark.parametrize(
  ("function", "draw_noise", "message"),
  [
    (lambda y, z: y, None, "<lambda> needs 2 arguments: .* give draw_noise"),
    (lambda y, z, gain: y, lambda *_: None, "<lambda> needs 3 arguments"),
    (lambda y: y, lambda *_: None, "<lambda> takes y alone"),
    (lambda y, z: y, lambda key, shape: None, "draw_noise must take three arguments"),
    (lambda y, z: y, lambda key, shape, count, extra: None, "draw_noise must take three arguments"),
    (lambda: with_default, None, "<lambda> takes no argument: give what it returns"),
    (Gain, None, "Gain is a class: give an object of it"),
    (3, None, "3 is no restorer"),
  ],
)
def test_what_does_not_fit_is_one_line(function, draw_noise, message):
  with pytest.raises(UserError, match=message):
    as_restorer(function, draw_noise=draw_noise)
