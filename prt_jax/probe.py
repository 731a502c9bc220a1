"""Measures restorations example by example: the programs that an evaluation pass runs on each batch.

Every number belongs to one example and is a function of its image and its row in the data set, so
that neither batch size nor devices change it. The attacks' steps are separate calls of one small
program, which serves the training attack and the stronger one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax import attacks, devices, metrics, posterior
from prt_jax.features.extractors import Extractor, quantise
from prt_jax.game import Game
from prt_jax.metrics.image import PSNR_CAP, psnr
from prt_jax.posterior import Weights
from prt_jax.randomness import Stream

Values = dict[str, jax.Array]


class Batch(NamedTuple):
  """A batch on the devices, its leaves [local devices, B / devices, ...], seeds after the device axis.

  Attributes:
    x: originals, float32 in [0, 1].
    y: measurements.
    z: the draws that attacks average over, leaves [devices, S, ...].
    restored: their restorations [devices, S, ...]; the first is "the" restoration.
    examples: rows in the data set.
  """

  x: jax.Array
  y: jax.Array
  z: Any
  restored: jax.Array
  examples: jax.Array


class Spread(NamedTuple):
  """Running mean and summed squared deviation over draws (Welford), [B,H,W,3]."""

  count: jax.Array
  mean: jax.Array
  scatter: jax.Array


class Best(NamedTuple):
  """The strongest delta so far and the change that it makes, [B, ...] and [B]."""

  delta: jax.Array
  change: jax.Array


class Probe:
  """The compiled programs of one game, and the weights on the devices."""

  def __init__(self, game: Game, weights: Weights):
    self.game, self.weights = game, weights
    self._begin = devices.over_examples(lambda *args: _begin(game, *args))
    self._start = devices.over_examples(lambda *args: _start(game, *args))
    self._gradient = devices.over_examples(lambda *args: _gradient(game, *args))
    self._adam_step = devices.over_examples(
      lambda learning_rate, *args: attacks.search_step(*args, game.config.attack.eps, learning_rate)
    )
    self._conditional_step = devices.over_examples(
      lambda share, *args: attacks.conditional_step(*args, game.config.attack.eps, share)
    )
    self._attacked_image = devices.over_examples(lambda *args: _attacked_image(game, *args))
    self._attacked = devices.over_examples(lambda *args: _attacked(game, *args))
    self._draw = devices.over_examples(lambda *args: _draw(game, *args))
    self._add_draw = devices.over_examples(_add_draw)
    self._fidelity = devices.over_examples(lambda *args: _fidelity(game, *args))
    self._spread_of = devices.over_examples(_spread_of)
    self._spread = devices.over_examples(_spread)

  def begin(self, images: np.ndarray, examples: np.ndarray) -> Batch:
    """Degrades and restores a global batch: this process's images [devices,b,H,W,3] uint8, examples [devices,b]."""
    return Batch(*self._begin(self.weights, images, examples), examples)

  def random_delta(self, batch: Batch) -> jax.Array:
    """The random direction of norm eps that the training attack starts from."""
    return self._start(0, batch.examples).delta

  def attack(self, batch: Batch) -> jax.Array:
    """The training attack's delta: its last iterate."""
    config = self.game.config.attack
    search = self._start(0, batch.examples)
    for _ in range(config.num_steps):
      gradient, _ = self._gradient(self.weights, batch, search.delta)
      search = self._adam_step(np.float32(config.learning_rate), search, gradient)
    return search.delta

  def strong_attack(self, batch: Batch, delta: jax.Array) -> jax.Array:
    """The best iterate of several longer searches and of delta, judged by the change that it makes."""
    config = self.game.config.eval
    best = Best(delta, self.attacked(batch, delta)["change"])
    for restart in range(1, config.strong_num_restarts + 1):
      delta = self._start(restart, batch.examples).delta
      for step in range(config.strong_num_steps):
        gradient, change = self._gradient(self.weights, batch, delta)
        best = _better(best, delta, change)
        delta = self._conditional_step(np.float32(1 - step / config.strong_num_steps), delta, gradient)
      best = _better(best, delta, self.attacked(batch, delta)["change"])
    return best.delta

  def attacked(self, batch: Batch, delta: jax.Array) -> Values:
    """What delta does: change, robustness_db, ai_psnr_db, lipschitz, each [devices, b]."""
    return self._attacked(self.weights, batch, delta)

  def attacked_image(self, batch: Batch, delta: jax.Array) -> jax.Array:
    """The first draw's restoration of y + delta."""
    return self._attacked_image(self.weights, batch, delta)

  def fidelity(self, batch: Batch) -> Values:
    """The restoration against its original and its measurement."""
    return self._fidelity(self.weights, batch)

  def draw(self, batch: Batch, number: int) -> jax.Array:
    """The restoration with the draw of that number, [devices,b,H,W,3]; the first ones are batch.restored."""
    return self._draw((self.weights, np.int32(number)), batch)

  def spread(self, batch: Batch, num_draws: int) -> tuple[Values, jax.Array]:
    """Values of the spread over draws, and the per-pixel std [devices,b,H,W,3]; zeros for a deterministic model."""
    known = batch.restored[:, :num_draws]
    spread = self._spread_of(None, known)
    for number in range(known.shape[1], num_draws if self.game.config.model.stochastic else 1):
      spread = self._add_draw(None, spread, self.draw(batch, number))
    return self._spread(None, batch, spread)


def make_features(extractor: Extractor) -> Callable[[jax.Array], jax.Array]:
  """Features on all devices: images [devices,b,H,W,3], uint8 or floats in [0, 1], to [devices,b,D]."""
  program = devices.over_examples(lambda params, images: extractor.features(params, quantise(images)))
  return lambda images: program(extractor.params, images)


def make_lpips(params: Any) -> Callable[[Batch], jax.Array]:
  """The LPIPS-style distance of the restoration to the original, [devices,b]."""
  program = devices.over_examples(
    lambda params, batch: metrics.lpips_style_distance(params, jnp.clip(batch.restored[0], 0, 1), batch.x)
  )
  return lambda batch: program(params, batch)


def _begin(game, weights, images, examples):
  x = images.astype(jnp.float32) / 255
  y = posterior.measure(game, x, examples)
  z = posterior.draw(game, examples, range(game.config.attack.num_seeds))
  restored = jax.vmap(posterior.make_restore(game, weights), (None, 0))(y, z)
  return x, y, z, restored


def _start(game, restart, examples):
  shape = (len(examples), *game.degradation.measurement_shape)
  keys = posterior.keys(Stream.EVALUATION_ATTACK, restart, examples)
  return attacks.start_search(keys, shape, game.config.attack.eps)


def _gradient(game, weights, batch, delta):
  """The gradient [b, ...] of the change that the search maximises, and the change [b]."""
  restore = posterior.make_restore(game, weights)

  def total(delta):
    change = attacks.change(restore, batch.y, batch.z, delta, batch.restored)
    return jnp.sum(change), change

  return jax.grad(total, has_aux=True)(delta)


def _attacked_image(game, weights, batch, delta):
  z = jax.tree.map(lambda leaf: leaf[0], batch.z)
  return posterior.make_restore(game, weights)(batch.y + delta, z)


def _attacked(game, weights, batch, delta):
  attacked = jax.vmap(posterior.make_restore(game, weights), (None, 0))(batch.y + delta, batch.z)
  squares = jnp.sum((attacked - batch.restored) ** 2, axis=(2, 3, 4))
  norm = attacks.l2_norm(delta)
  robustness = jnp.minimum(jax.vmap(psnr)(batch.restored, attacked), PSNR_CAP)
  return {
    "change": jnp.mean(squares, 0),
    "robustness_db": jnp.mean(robustness, 0),
    "ai_psnr_db": -10 * jnp.log10(norm**2 / game.degradation.psnr_size),
    # In L2 over the noise: sqrt(E_Z ||f(y + delta, Z) - f(y, Z)||^2) / ||delta||.
    "lipschitz": jnp.sqrt(jnp.mean(squares, 0)) / norm,
  }


def _fidelity(game, _, batch):
  restored = batch.restored[0]
  degraded = game.degradation.clean(restored)
  return {
    "consistency_db": jnp.minimum(metrics.consistency_psnr(batch.y, degraded), PSNR_CAP),
    "consistency_max_error": metrics.consistency_max_error(batch.y, degraded),
    "psnr_db": jnp.minimum(psnr(restored, batch.x), PSNR_CAP),
    "ssim": metrics.ssim(restored, batch.x),
  }


def _spread_of(_, restored):
  mean = jnp.mean(restored, 0)
  return Spread(jnp.full(len(mean), len(restored), jnp.float32), mean, jnp.sum((restored - mean) ** 2, 0))


def _draw(game, plan, batch):
  weights, number = plan
  z = jax.tree.map(lambda leaf: leaf[0], posterior.draw(game, batch.examples, number[None]))
  return posterior.make_restore(game, weights)(batch.y, z)


def _add_draw(_, spread, restored):
  count = spread.count + 1
  difference = restored - spread.mean
  mean = spread.mean + difference / count[:, None, None, None]
  return Spread(count, mean, spread.scatter + difference * (restored - mean))


def _spread(_, batch, spread):
  # The divisor of per_pixel_std, S - 1; a single draw has no spread.
  std = jnp.sqrt(spread.scatter / jnp.maximum(spread.count - 1, 1)[:, None, None, None])
  diversity = metrics.seed_diversity(batch.restored) if len(batch.restored) > 1 else jnp.zeros(len(std))
  return {"per_pixel_std": jnp.mean(std, (1, 2, 3)), "seed_diversity": diversity}, std


@jax.jit
def _better(best, delta, change):
  wins = change > best.change
  shape = wins.shape + (1,) * (delta.ndim - wins.ndim)
  return Best(jnp.where(wins.reshape(shape), delta, best.delta), jnp.maximum(change, best.change))
