"""One training step of paper A: a critic step, then a generator step, plain or robust (Eq. 8).

Pure functions of (game, state, batch, key). Inside a mapped axis, losses are means over the local
examples and gradients are averaged over the axis, so that the result is the global batch's.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from prt_jax import losses
from prt_jax.attacks import ascend, l2_norm, over_seeds, sum_over_seeds
from prt_jax.devices import over_devices
from prt_jax.metrics.image import psnr
from prt_jax.precision import multiplying
from prt_jax.randomness import Stream, example_keys
from prt_jax.training.estimator import begin, complete_seeds, draw_noise, restore
from prt_jax.training.gan import Game, critic_logits
from prt_jax.training.state import TrainState

Scalars = dict[str, jax.Array]


def global_examples(game: Game, batch_size: int) -> jax.Array:
  """The positions [B] of this device's examples in the global batch."""
  first = 0 if game.axis_name is None else jax.lax.axis_index(game.axis_name) * batch_size
  return first + jnp.arange(batch_size)


def average(game: Game, tree: Any) -> Any:
  """The mean over devices, where there is an axis of them."""
  return tree if game.axis_name is None else jax.lax.pmean(tree, game.axis_name)


def measure(game: Game, state: TrainState, x: jax.Array, key: jax.Array) -> jax.Array:
  """This step's measurements y of the images x, the same for both players."""
  return game.degradation.degrade(x, example_keys(key, state.step, Stream.MEASUREMENT, global_examples(game, len(x))))


@functools.partial(jax.jit, static_argnames="game")
def critic_step(game: Game, state: TrainState, batch: jax.Array, key: jax.Array) -> tuple[TrainState, Scalars]:
  """Updates the critic on real images against one restoration of each of their measurements.

  Args:
    batch: [B,H,W,3] float32 in [0, 1], this device's examples.
    key: the run's key.

  Returns:
    (state with the critic's parameters and optimiser replaced, scalars averaged over the global batch).
  """
  y = measure(game, state, batch, key)
  keys = example_keys(key, state.step, Stream.CRITIC_NOISE, global_examples(game, len(batch)))
  z = jax.tree.map(lambda noise: noise[0], draw_noise(game, keys, 1))
  fake, _ = restore(game, state.generator_params, state.batch_stats, y, z, train=True)

  def loss(params):
    def critic(x):
      return critic_logits(game, params, x)

    real_logits, r1 = losses.logits_and_r1_penalty(critic, batch)
    fake_logits = critic(fake)
    adversarial = jnp.mean(losses.critic_loss(real_logits, fake_logits))
    scalars = {
      "critic_loss": adversarial,
      "critic_real": jnp.mean(real_logits),
      "critic_fake": jnp.mean(fake_logits),
      "r1": jnp.mean(r1),
    }
    return adversarial + game.config.optim.r1_weight * scalars["r1"], scalars

  gradients, scalars = jax.grad(loss, has_aux=True)(state.critic_params)
  gradients, scalars = average(game, (gradients, scalars))
  updates, optimizer_state = game.optimizer.update(gradients, state.critic_optimizer)
  params = optax.apply_updates(state.critic_params, updates)
  scalars["critic_gradient_norm"] = optax.tree.norm(gradients)
  return state.replace(critic_params=params, critic_optimizer=optimizer_state), scalars


def generator_step(
  game: Game, state: TrainState, batch: jax.Array, key: jax.Array, *, robust: bool
) -> tuple[TrainState, Scalars]:
  """Updates the generator on the GAN loss and, where robust, lambda_R times the robustness loss.

  A robust step restores each measurement with all S seeds once: the first is the plain pass that
  the critic sees and that updates the running averages, and all are the reference of the search
  and one side of the robustness loss.

  Args, Returns: as critic_step.
  """
  config = game.config
  examples = global_examples(game, len(batch))
  y = measure(game, state, batch, key)
  num_seeds = config.attack.num_seeds if robust else 1
  z = draw_noise(game, example_keys(key, state.step, Stream.GENERATOR_NOISE, examples), num_seeds)
  frozen = config.attack.batch_norm == "frozen"

  estimated = jax.vmap(game.degradation.estimated)

  def search(reference):
    """attacks.adversarial_search, for seeds that share the stem and go through the net as the game says."""
    generator = functools.partial(complete_seeds, game, state.generator_params, state.batch_stats, train=not frozen)

    def begun(y):
      return begin(game, state.generator_params, state.batch_stats, y, train=not frozen)[0]

    if frozen:
      reference = estimated(over_seeds(lambda z: generator(begun(y), z)[0], z, game.seeds_at_once))

    def squares(begun, reference, z):
      return jnp.sum((estimated(generator(begun, z)[0]) - reference) ** 2)

    def total_change(delta):
      return sum_over_seeds(squares, begun(y + delta), reference, z, game.seeds_at_once) / num_seeds

    delta = ascend(
      total_change,
      example_keys(key, state.step, Stream.ATTACK_START, examples),
      y.shape,
      **{name: config.attack[name] for name in ("eps", "num_steps", "learning_rate")},
      unroll=game.formulation.unrolls_search,
    )
    return jax.lax.stop_gradient(delta)

  def loss(params):
    begun, batch_stats = begin(game, params, state.batch_stats, y, train=True)
    # From here on running averages depend on the seed: each seed's slice is a batch of its own.
    restore_seeds = functools.partial(complete_seeds, game, train=True)
    restored, batch_stats = over_seeds(lambda z: restore_seeds(params, batch_stats, begun, z), z, game.seeds_at_once)
    fake, batch_stats = jax.tree.map(lambda seeds: seeds[0], (restored, batch_stats))
    adversarial = jnp.mean(losses.generator_loss(critic_logits(game, state.critic_params, fake)))
    scalars = {"generator_loss": adversarial}
    total = adversarial
    if robust:
      delta = search(jax.lax.stop_gradient(estimated(restored)))

      def share_of_loss(shared, restored, z):
        params, begun = shared
        attacked, _ = restore_seeds(params, state.batch_stats, begun, z)
        return jnp.mean(losses.robustness_loss(restored, estimated(attacked))) * len(restored) / num_seeds

      attacked_begun, _ = begin(game, params, state.batch_stats, y + delta, train=True)
      shared = params, attacked_begun
      robustness = sum_over_seeds(share_of_loss, shared, estimated(restored), z, game.seeds_at_once)
      total += config.optim.robust_weight * robustness
      norm = l2_norm(delta)
      ai_psnr = -10 * jnp.log10(norm**2 / game.degradation.psnr_size)
      scalars |= {"robustness_loss": robustness, "delta_norm": jnp.mean(norm), "ai_psnr": jnp.mean(ai_psnr)}
      if num_seeds > 1:
        scalars["seed_std"] = jnp.mean(jnp.std(jax.lax.stop_gradient(restored), 0, ddof=1))
    return total, (scalars, batch_stats, fake)

  gradients, (scalars, batch_stats, fake) = jax.grad(loss, has_aux=True)(state.generator_params)
  # With synchronised BatchNorm the running averages agree already; otherwise their mean is kept.
  gradients, scalars, batch_stats = average(game, (gradients, scalars, batch_stats))
  updates, optimizer_state = game.optimizer.update(gradients, state.generator_optimizer)
  params = optax.apply_updates(state.generator_params, updates)
  scalars |= average(game, consistency(game, fake, y))
  scalars["generator_gradient_norm"] = optax.tree.norm(gradients)
  if robust:
    scalars["robust_gradient_norm"] = scalars["generator_gradient_norm"]
  scalars["learning_rate"] = jnp.asarray(game.schedule(state.step), jnp.float32)
  state = state.replace(generator_params=params, generator_optimizer=optimizer_state, batch_stats=batch_stats)
  return state, scalars


def consistency(game: Game, x: jax.Array, y: jax.Array) -> Scalars:
  """How well restorations x agree with their measurements: mean PSNR (capped at 150 dB) and mean worst error."""
  degraded = game.degradation.clean(x)
  max_error = jnp.max(jnp.abs(degraded - y), axis=range(1, y.ndim))
  # A pasted measurement is exact, and an infinite PSNR would spoil the interval's average.
  return {
    "consistency_psnr": jnp.mean(jnp.minimum(psnr(degraded, y), 150.0)),
    "consistency_max_error": jnp.mean(max_error),
  }


def training_step(game: Game, state: TrainState, batch: jax.Array, *, robust: bool) -> TrainState:
  """A critic step and a generator step on the same images, and their scalars added to the interval's.

  Args:
    batch: [B,H,W,3] uint8 images, or [B,2] float32 points, this device's examples.
    robust: static; whether the generator's loss has the robustness term.
  """
  images = batch.astype(jnp.float32) / 255 if batch.dtype == jnp.uint8 else batch
  state, critic_scalars = critic_step(game, state, images, state.key)
  state, generator_scalars = generator_step(game, state, images, state.key, robust=robust)
  scalars = critic_scalars | generator_scalars

  starts_anew = state.step % game.config.train.log_every_steps == 0

  def add(name, total, count):
    total, count = (jnp.where(starts_anew, 0.0, value) for value in (total, count))
    return (total + scalars[name], count + 1) if name in scalars else (total, count)

  interval = {name: add(name, *sums) for name, sums in state.interval.items()}
  return state.replace(step=state.step + 1, interval=interval)


def training_cycles(game: Game, state: TrainState, batches: jax.Array) -> TrainState:
  """Whole cycles of training steps: batches [n,B,...], n a multiple of the cycle, state.step too."""
  cycle = game.cycle
  batches = batches.reshape(-1, len(cycle), *batches.shape[1:])

  def run_cycle(state, cycle_batches):
    for position, robust in enumerate(cycle):
      state = training_step(game, state, cycle_batches[position], robust=robust)
    return state, None

  return jax.lax.scan(run_cycle, state, batches)[0]


def make_train_step(
  game: Game, *, robust: bool, devices: Sequence | None = None
) -> Callable[[TrainState, jax.Array], TrainState]:
  """The composed step on all devices: (state, batch [devices,B,...]) -> state; the state is donated."""
  step = functools.partial(training_step, game, robust=robust)
  return over_devices(multiplying(game.config.model.precision, step), devices)


def make_train_cycles(
  game: Game, devices: Sequence | None = None
) -> Callable[[TrainState, jax.Array], TrainState]:
  """Whole cycles in one dispatch: (state, batches [devices,n,B,...]) -> state; the state is donated."""
  cycles = functools.partial(training_cycles, game)
  return over_devices(multiplying(game.config.model.precision, cycles), devices)
