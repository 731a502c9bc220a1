"""Paper B's toy estimators: conditional GANs that denoise a Gaussian, all weights and seeds trained as one program.

X ~ N(0, 1), Y = X + N(0, noise_std^2). The critic sees (x, y); the estimator's loss adds robust_weight times the
squared change of its output between y and a random neighbour of it (paper B), in place of paper A's inner maximisation.
"""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from absl import logging
from flax import serialization
from ml_collections import ConfigDict

from prt_jax.errors import UserError
from prt_jax.io.whole_files import write_whole
from prt_jax.losses import critic_loss, generator_loss, logits_and_r1_penalty, robustness_loss
from prt_jax.models import MLP
from prt_jax.training.checkpoints import claim_workdir


class Settings(NamedTuple):
  """One training; the paper prints none of these numbers, so all are our choice.

  Attributes:
    noise_std: of Y - X, in units of X's deviation.
    width: hidden units of each of the three layers of estimator and critic.
    batch_size: fresh pairs a step.
    num_steps: of estimator and critic, 1:1.
    learning_rate: Adam's (0, 0.9), of both; it falls to 0 along a cosine, so that the last state is a settled one.
    r1_weight: times E ||grad C(x, y)||^2 on real pairs, without a factor 1/2.
    neighbour_std: of the random neighbour's distance from y.
  """

  noise_std: float = 1.0
  width: int = 64
  batch_size: int = 256
  num_steps: int = 4_000
  learning_rate: float = 5e-4
  r1_weight: float = 10.0
  neighbour_std: float = 0.1


class Runs(NamedTuple):
  """What tells the runs of one program apart, a row each.

  Attributes:
    robust_weight: lambda, on the squared change of the output, [R].
    stochastic: 1 where Z ~ N(0, 1) is drawn, 0 where Z = 0, [R].
    seed: of initialisation and data; runs of equal seed see the same pairs, [R].
  """

  robust_weight: jax.Array
  stochastic: jax.Array
  seed: jax.Array


class State(NamedTuple):
  """Parameters and optax states of both players; every leaf leads with the runs' axis."""

  estimator: dict
  critic: dict
  estimator_adam: tuple
  critic_adam: tuple


def measure(key: jax.Array, count: int, noise_std: float) -> tuple[jax.Array, jax.Array]:
  """Fresh pairs (x, y), [N] each."""
  x, noise = jax.random.normal(key, (2, count))
  return x, x + noise_std * noise


def estimate(settings: Settings, params: dict, y: jax.Array, z: jax.Array) -> jax.Array:
  """One run's estimator: y [N], z [N] -> [N]."""
  return _network(settings).apply(params, jnp.stack([y, z], 1))[:, 0]


def _network(settings):
  return MLP((settings.width,) * 3 + (1,), "he_normal")


def _optimizer(settings):
  rate = optax.cosine_decay_schedule(settings.learning_rate, settings.num_steps)
  return optax.adam(rate, b1=0.0, b2=0.9)


def init(settings: Settings, runs: Runs) -> State:
  """The untrained players of all runs."""

  def init_run(seed):
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), seed))
    estimator, critic = (_network(settings).init(key, jnp.zeros((1, 2))) for key in keys)
    return State(estimator, critic, _optimizer(settings).init(estimator), _optimizer(settings).init(critic))

  return jax.vmap(init_run)(runs.seed)


def train_step(settings: Settings, run: Runs, state: State, step: jax.Array) -> State:
  """One step of the critic and one of the estimator, of one run (vmapped by train)."""
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), run.seed), step)
  pair_key, noise_key, neighbour_key = jax.random.split(key, 3)
  x, y = measure(pair_key, settings.batch_size, settings.noise_std)
  z = run.stochastic * jax.random.normal(noise_key, y.shape)
  neighbour = y + settings.neighbour_std * jax.random.normal(neighbour_key, y.shape)

  def criticise(params, x):
    return _network(settings).apply(params, jnp.stack([x, y], 1))[:, 0]

  def critic_objective(params):
    real_logits, penalty = logits_and_r1_penalty(
      lambda pairs: _network(settings).apply(params, pairs)[:, 0], jnp.stack([x, y], 1)
    )
    fake_logits = criticise(params, fake)
    return jnp.mean(critic_loss(real_logits, fake_logits) + settings.r1_weight * penalty)

  def estimator_objective(params):
    x_hat = estimate(settings, params, y, z)
    change = robustness_loss(x_hat[None, :, None], estimate(settings, params, neighbour, z)[None, :, None])
    return jnp.mean(generator_loss(criticise(critic, x_hat)) + run.robust_weight * change)

  fake = estimate(settings, state.estimator, y, z)
  critic, critic_adam = _descend(settings, critic_objective, state.critic, state.critic_adam)
  estimator, estimator_adam = _descend(settings, estimator_objective, state.estimator, state.estimator_adam)
  return State(estimator, critic, estimator_adam, critic_adam)


def _descend(settings, objective, params, adam):
  updates, adam = _optimizer(settings).update(jax.grad(objective)(params), adam)
  return optax.apply_updates(params, updates), adam


def train(settings: Settings, runs: Runs, workdir: pathlib.Path, chunk: int = 500) -> State:
  """Trains all runs to the end, from the newest state in workdir; saved every `chunk` steps.

  Raises:
    UserError: a workdir of other settings, a saved state that cannot be read, parameters that are not finite.
  """
  described = {name: value.tolist() for name, value in runs._asdict().items()}
  claim_workdir(workdir, ConfigDict({"settings": settings._asdict(), "runs": described}))
  state, first = _resume(workdir, init(settings, runs))
  advance = _make_advance(settings, runs)
  while first < settings.num_steps:
    last = min(first + chunk, settings.num_steps)
    state = advance(state, jnp.arange(first, last))
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state.estimator)):
      raise UserError(f"an estimator is not finite between steps {first} and {last}: lower the learning rate")
    _save(workdir, state, last)
    logging.info("step %d of %d", last, settings.num_steps)
    first = last
  return state


def _make_advance(settings: Settings, runs: Runs) -> Callable[[State, jax.Array], State]:
  step_all = jax.vmap(lambda run, state, step: train_step(settings, run, state, step), (0, 0, None))

  @jax.jit
  def advance(state, steps):
    return jax.lax.scan(lambda state, step: (step_all(runs, state, step), None), state, steps)[0]

  return advance


def _resume(workdir, template):
  path = workdir / "state.msgpack"
  if not path.exists():
    return template, 0
  try:
    saved = serialization.from_bytes({"state": template, "step": 0}, path.read_bytes())
  except ValueError as error:
    raise UserError(f"{path} cannot be read ({error}): delete it to start anew") from error
  return jax.tree.map(jnp.asarray, saved["state"]), int(saved["step"])


def _save(workdir, state, step):
  write_whole(workdir / "state.msgpack", serialization.to_bytes({"state": state, "step": step}))
