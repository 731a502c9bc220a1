"""The consistent estimator of a game: its generator, what is drawn for it, and the projection behind it.

Pure functions of (game, params, ...). What all draws of the noise share is computed once: begin, then complete.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from prt_jax.models.layers import repeat_for_seeds
from prt_jax.randomness import sample_noise, zero_noise
from prt_jax.training.gan import Game


@functools.partial(jax.jit, static_argnames=("game", "train"))
def restore(
  game: Game, params: Any, batch_stats: Any, y: jax.Array, z: tuple[jax.Array, ...], *, train: bool
) -> tuple[jax.Array, Any]:
  """The consistent estimator: the generator's output projected onto the images that agree with y.

  Args:
    y: measurements [B, ...].
    z: one draw of the noise, leaves [B, ...].
    train: normalise by the batch's statistics; False: by the running averages.

  Returns:
    ([B,H,W,3], the batch statistics after this pass; unchanged where train is False).
  """
  begun, batch_stats = begin(game, params, batch_stats, y, train=train)
  return complete(game, params, batch_stats, begun, z, train=train)


class Begun(NamedTuple):
  """A restoration that has seen no noise yet: what the generator's stem gives (the network input, where it has none),
  and y [B, ...], which project needs."""

  features: Any
  y: jax.Array


@functools.partial(jax.jit, static_argnames=("game", "train"))
def begin(game: Game, params: Any, batch_stats: Any, y: jax.Array, *, train: bool) -> tuple[Begun, Any]:
  """The part of restore that all draws of the noise share, and the batch statistics after it."""
  features = game.degradation.network_input(y)
  if _has_stem(game.generator):
    features, batch_stats = _apply(game.generator, params, batch_stats, "stem", features, train=train)
  return Begun(features, y), batch_stats


@functools.partial(jax.jit, static_argnames=("game", "train"))
def complete(
  game: Game, params: Any, batch_stats: Any, begun: Begun, z: tuple[jax.Array, ...], *, train: bool
) -> tuple[jax.Array, Any]:
  """The rest of restore for one draw z of the noise, with the results of restore."""
  method = "complete" if _has_stem(game.generator) else "__call__"
  x, batch_stats = _apply(game.generator, params, batch_stats, method, begun.features, z, train=train)
  return game.degradation.project(x, begun.y), batch_stats


@functools.partial(jax.jit, static_argnames=("game", "train"))
def complete_seeds(
  game: Game, params: Any, batch_stats: Any, begun: Begun, z: tuple[jax.Array, ...], *, train: bool
) -> tuple[jax.Array, Any]:
  """complete under vmap over the draws of the noise, computed as suits the device: z [S,B,...] -> [S,B,H,W,3].

  Where train, each of the batch statistics has a leading S as well.
  """
  if not game.formulation.merges_seeds or not hasattr(game.generator, "num_seeds"):
    one = functools.partial(complete, game, params, batch_stats, begun, train=train)
    return jax.vmap(one, out_axes=(0, 0 if train else None))(z)
  num_seeds = len(z[0])
  generator = game.generator.clone(num_seeds=num_seeds)
  merged = tuple(noise.reshape(-1, *noise.shape[2:]) for noise in z)
  x, after = _apply(generator, params, batch_stats, "complete", begun.features, merged, train=train)
  if train:  # the stem's are left as they were: the same for all draws

    def for_seeds(after, before):
      return after if after.ndim > before.ndim else jnp.broadcast_to(before, (num_seeds, *before.shape))

    batch_stats = jax.tree.map(for_seeds, after, batch_stats)
  x = game.degradation.project(x, repeat_for_seeds(begun.y, num_seeds))
  return x.reshape(num_seeds, -1, *x.shape[1:]), batch_stats


def _has_stem(generator):
  return hasattr(generator, "stem") and hasattr(generator, "complete")


def _apply(generator, params, batch_stats, method, *inputs, train):
  variables = {"params": params, "batch_stats": batch_stats}
  if not train:
    return generator.apply(variables, *inputs, train=False, method=method), batch_stats
  outputs, updates = generator.apply(variables, *inputs, train=True, method=method, mutable=["batch_stats"])
  return outputs, updates.get("batch_stats", batch_stats)


def draw_noise(game: Game, keys: jax.Array, num_seeds: int) -> tuple[jax.Array, ...]:
  """S draws of Z an example, leaves [S, B, ...]: by model.noise times model.noise_scale, or zeros for a deterministic
  model. keys: [B]."""
  model = game.config.model
  if not model.stochastic:
    return zero_noise(keys.shape[0], game.noise_shapes, num_seeds)
  z = sample_noise(keys, game.noise_shapes, num_seeds, model.noise)
  return jax.tree.map(lambda draws: model.noise_scale * draws, z)
