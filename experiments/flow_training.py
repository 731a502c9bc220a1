"""The one loop behind a flow restorer's nets: Adam at a constant rate, and the average of its weights that is used.

A constant rate and the average in place of a schedule: a training may be stopped, or prolonged, at any step.
"""

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from flax import serialization
from ml_collections import ConfigDict

from prt_jax.data import batch_indices
from prt_jax.errors import UserError
from prt_jax.io.whole_files import write_whole
from prt_jax.training.checkpoints import claim_workdir
from prt_jax.training.writers import append_line, keep_lines


class Recipe(NamedTuple):
  """Attributes:
  batch_size: images a step.
  learning_rate: Adam's, betas (.9, .999).
  decay: of the weights' running average, d in average = d average + (1 - d) weights; less in the first steps.
  seed: of the weights, the images' order, and all that the loss draws.
  """

  batch_size: int = 16
  learning_rate: float = 1e-3
  decay: float = 0.999
  seed: int = 0


class Weights(NamedTuple):
  """Attributes:
  params: what is trained.
  stats: what the net keeps beside: BatchNorm's running averages; {} without any.
  """

  params: Any
  stats: Any


class State(NamedTuple):
  """Weights as they are trained, their running average, and Adam's state."""

  weights: Weights
  average: Weights
  adam: Any


# (params, stats, the batch's rows of each array of data, key) -> (loss, stats after it); uint8 comes as floats in
# [0, 1].
Loss = Callable[[Any, Any, tuple[jax.Array, ...], jax.Array], tuple[jax.Array, Any]]


def train(
  recipe: Recipe, start: Callable[[jax.Array], Weights], loss: Loss, data: tuple[np.ndarray, ...], folder: pathlib.Path,
  num_steps: int, *, save_every: int = 250,
) -> Weights:
  """The average of the weights after num_steps steps, from where folder is; saved every save_every steps.

  Args:
    recipe: another one than the folder's is refused.
    start: key -> the untrained weights.
    loss: of a batch; what it draws is a function of the key alone.
    data: arrays [N, ...], whose rows belong together.
    folder: holds config.json, state.msgpack, and metrics.jsonl with a line each save_every steps.
    num_steps: may be raised later; a folder that is further already gives what it has.

  Raises:
    UserError: the folder is of another recipe, its state cannot be read, or a loss is not finite.
  """  # fmt: skip
  claim_workdir(folder, ConfigDict({"recipe": recipe._asdict()}))
  key, adam = jax.random.key(recipe.seed), optax.adam(recipe.learning_rate)
  path = folder / "state.msgpack"
  weights = start(jax.random.fold_in(key, 0))
  state, step = State(weights, weights, adam.init(weights.params)), 0
  if path.exists():
    try:
      saved = serialization.from_bytes({"step": step, "state": state}, path.read_bytes())
    except ValueError as error:
      raise UserError(f"{path} cannot be read ({error}): delete it to start anew") from error
    state, step = jax.tree.map(jnp.asarray, saved["state"]), int(saved["step"])
  keep_lines(folder / "metrics.jsonl", lambda line: line["step"] <= step)

  @jax.jit
  def advance(state, batch, step):
    (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(
      *state.weights, jax.tree.map(_as_float, batch), jax.random.fold_in(jax.random.fold_in(key, 1), step)
    )
    updates, optimizer = adam.update(gradient, state.adam)
    weights = Weights(optax.apply_updates(state.weights.params, updates), stats)
    decay = jnp.minimum(recipe.decay, (1 + step) / (10 + step))
    average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.average, weights)
    return State(weights, average, optimizer), value

  values, started = [], time.monotonic()
  while step < num_steps:
    rows = batch_indices(recipe.seed, step, recipe.batch_size, len(data[0]))
    state, value = advance(state, tuple(jnp.asarray(own[rows]) for own in data), jnp.int32(step))
    values.append(value)
    step += 1
    if step % save_every == 0 or step == num_steps:
      mean, seconds = float(np.mean(values)), (time.monotonic() - started) / len(values)
      if not np.isfinite(mean):
        raise UserError(f"{folder}: the loss is not finite in steps {step - len(values)} to {step}; delete the folder")
      write_whole(path, serialization.to_bytes({"step": step, "state": state}))
      append_line(folder / "metrics.jsonl", {"step": step, "loss": mean, "seconds_a_step": round(seconds, 4)})
      logging.info("%s: step %d of %d, loss %.5f, %.3f s a step", folder.name, step, num_steps, mean, seconds)
      values, started = [], time.monotonic()
  return state.average


def _as_float(x):
  return x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x


def steps_done(folder: pathlib.Path) -> int:
  """The steps that a folder's training has saved; 0 where there is none."""
  try:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
  except (OSError, IndexError):
    return 0
