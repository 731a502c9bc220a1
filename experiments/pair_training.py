"""Published x4 networks, fine-tuned with another loss: the two ends of a pair then share their architecture.

Of every network two: one trained for distortion (L1 alone), one as a GAN (the critic, and L1 as its content loss, as
SRGAN has content and adversarial loss). Both see the same pictures for as many steps, so that what the fine-tuning
itself does, whatever its loss, can be told from what the loss does. Without L1 a short fine-tuning of IMDN against a
fresh critic came to stripes of 4 pixels.
"""

import json
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from flax import serialization

from prt_jax import losses
from prt_jax.data.image_pairs import bicubic_measure, read_images, to_float
from prt_jax.errors import UserError
from prt_jax.io.whole_files import write_whole
from prt_jax.models import Critic
from prt_jax.restorers import Restorer
from prt_jax.training.writers import append_line, keep_lines

SCALE = 4
SIDE = 64  # pixels of a training picture; its measurement has 16
FROZEN = ("running_mean", "running_var")  # BatchNorm stays as it is published, but for its slope and shift


class Recipe(NamedTuple):
  """Attributes:
  loss: "l1" or "gan".
  num_steps: of the generator, each with one of the critic in a GAN.
  batch_size: pictures a step.
  learning_rate: Adam's for the network, falling to 0 by a half cosine; betas (0.5, 0.99) as paper A has them.
  critic_learning_rate: the critic's, which starts from random weights; constant.
  critic_width: f of the critic (paper A: 16).
  content_weight: of L1 beside the critic's term, in a GAN: what the critic gives for a restoration that it takes for
    real, about .7, is then worth .02 of L1, a third of what there is.
  r1_weight: of R1. A critic of a short run starts far from linear (docs/results.md): He-normal kernels, residual scale
    .5, an R1 weight of .1.
  seed: of the critic's weights and of the pictures' order.
  """

  loss: str
  num_steps: int
  batch_size: int = 8
  learning_rate: float = 1e-4
  critic_learning_rate: float = 2e-4
  critic_width: int = 8
  content_weight: float = 30.0
  r1_weight: float = 0.1
  seed: int = 0


class State(NamedTuple):
  """Attributes:
  params, optimizer: the network's trained tensors, and Adam's state.
  critic, critic_optimizer: the same of the critic; () without one.
  """

  params: Any
  optimizer: Any
  critic: Any = ()
  critic_optimizer: Any = ()


class Trainer(NamedTuple):
  """Attributes:
  start: () -> State.
  step: (State, x [B,H,W,3], y [B,h,w,3]) -> (State, {name: scalar}); jitted.
  """

  start: Callable[[], State]
  step: Callable[[State, jax.Array, jax.Array], tuple[State, dict]]


def read_pictures(folder: pathlib.Path) -> list[np.ndarray]:
  """Every picture of a folder that has a square of SIDE pixels, uint8 [H,W,3]; UserError where none has."""
  pictures = [np.asarray(image) for _, image, _ in read_images(folder)]
  pictures = [picture for picture in pictures if min(picture.shape[:2]) >= SIDE]
  if not pictures:
    raise UserError(f"{folder} holds no picture of {SIDE}x{SIDE} pixels or more: point --images at photographs")
  return pictures


def make_batch(pictures: Sequence[np.ndarray], recipe: Recipe, step: int) -> tuple[np.ndarray, np.ndarray]:
  """The pictures x [B,SIDE,SIDE,3] of a step, random squares, half of them mirrored, and their measurements.

  A function of the seed and the step alone, so that a run that was stopped sees what it would have seen.
  """
  rng, measure = np.random.default_rng([recipe.seed, step]), bicubic_measure(SCALE)
  squares = []
  for index in rng.integers(len(pictures), size=recipe.batch_size):
    picture = pictures[index]
    top, left = (int(rng.integers(length - SIDE + 1)) for length in picture.shape[:2])
    square = picture[top : top + SIDE, left : left + SIDE]
    squares.append(to_float(square[:, ::-1] if rng.random() < 0.5 else square))
  return np.stack(squares), np.stack([measure(square, 0) for square in squares])


def l1_loss(x_hat: jax.Array, x: jax.Array) -> jax.Array:
  """The mean of |x_hat - x|, a scalar: what IMDN was trained with."""
  return jnp.mean(jnp.abs(x_hat - x))


def gan_loss(fake_logits: jax.Array, x_hat: jax.Array, x: jax.Array, content_weight: float) -> jax.Array:
  """The network's loss in a GAN, a scalar: non-saturating, and L1 as its content loss."""
  return jnp.mean(losses.generator_loss(fake_logits)) + content_weight * l1_loss(x_hat, x)


def critic_loss(critic: Callable, x: jax.Array, x_hat: jax.Array, r1_weight: float) -> jax.Array:
  """The critic's loss with R1 at the real pictures, a scalar."""
  real_logits, penalty = losses.logits_and_r1_penalty(critic, x)
  return jnp.mean(losses.critic_loss(real_logits, critic(x_hat)) + r1_weight * penalty)


def split_params(params: dict) -> tuple[dict, dict]:
  """(trained, frozen) tensors of a network."""
  frozen = {name: value for name, value in params.items() if name.endswith(FROZEN)}
  return {name: value for name, value in params.items() if name not in frozen}, frozen


def make_trainer(restorer: Restorer, recipe: Recipe) -> Trainer:
  """How a network is trained by a recipe."""
  trained, frozen = split_params(restorer.params)
  schedule = optax.cosine_decay_schedule(recipe.learning_rate, recipe.num_steps)
  adam = optax.adam(schedule, b1=0.5, b2=0.99)
  critic_adam = optax.adam(recipe.critic_learning_rate, b1=0.5, b2=0.99)
  critic = Critic(recipe.critic_width, residual_scale=0.5, kernel_init="he_normal")

  def restore(params, y):
    return restorer.apply(frozen | params, y, None)

  def start():
    if recipe.loss == "l1":
      return State(trained, adam.init(trained))
    params = critic.init(jax.random.key(recipe.seed), jnp.zeros((1, SIDE, SIDE, 3)))
    return State(trained, adam.init(trained), params, critic_adam.init(params))

  @jax.jit
  def l1_step(state, x, y):
    value, gradient = jax.value_and_grad(lambda params: l1_loss(restore(params, y), x))(state.params)
    updates, optimizer = adam.update(gradient, state.optimizer, state.params)
    return state._replace(params=optax.apply_updates(state.params, updates), optimizer=optimizer), {"l1": value}

  @jax.jit
  def gan_step(state, x, y):
    def of_critic(params, x_hat):
      return critic_loss(lambda images: critic.apply(params, images), x, x_hat, recipe.r1_weight)

    def of_network(params):
      x_hat = restore(params, y)
      value = gan_loss(critic.apply(state.critic, x_hat), x_hat, x, recipe.content_weight)
      return value, {"l1": l1_loss(x_hat, x), "x_hat": x_hat}

    (value, seen), gradient = jax.value_and_grad(of_network, has_aux=True)(state.params)
    # Both players move from where they were: the critic judges what the network made before this step.
    critic_value, critic_gradient = jax.value_and_grad(of_critic)(state.critic, seen.pop("x_hat"))
    updates, optimizer = adam.update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    updates, critic_optimizer = critic_adam.update(critic_gradient, state.critic_optimizer, state.critic)
    state = State(params, optimizer, optax.apply_updates(state.critic, updates), critic_optimizer)
    return state, seen | {"generator_loss": value, "critic_loss": critic_value}

  return Trainer(start, l1_step if recipe.loss == "l1" else gan_step)


def fine_tune(
  restorer: Restorer, recipe: Recipe, pictures: Callable[[], Sequence[np.ndarray]], folder: pathlib.Path,
  *, save_every: int = 50, until: int | None = None,
) -> dict:
  """The network's parameters after the recipe's steps, from where folder/state.msgpack is.

  Args:
    restorer: the network as published.
    recipe: of the training; another one than the folder's is refused.
    pictures: () -> what it is trained on; called where steps are missing.
    folder: holds recipe.json, state.msgpack and metrics.jsonl, a line each `save_every` steps.
    save_every: steps.
    until: stop after so many steps; None: all of them.

  Raises:
    UserError: the folder is of another recipe, or a loss is not finite.
  """  # fmt: skip
  folder.mkdir(parents=True, exist_ok=True)
  _check_recipe(folder / "recipe.json", recipe)
  trainer, path = make_trainer(restorer, recipe), folder / "state.msgpack"
  state, step = trainer.start(), 0
  if path.exists():
    step, state = serialization.from_bytes((step, state), path.read_bytes())
  keep_lines(folder / "metrics.jsonl", lambda line: line["step"] <= step)
  until = recipe.num_steps if until is None else min(until, recipe.num_steps)
  data = pictures() if step < until else ()
  seen, started = [], time.monotonic()
  while step < until:
    x, y = make_batch(data, recipe, step)
    state, scalars = trainer.step(state, x, y)
    seen.append(scalars)
    step += 1
    if step % save_every == 0 or step == until:
      means = {name: float(np.mean([scalars[name] for scalars in seen])) for name in seen[0]}
      if not np.isfinite(list(means.values())).all():
        raise UserError(f"{folder}: a loss is not finite in steps {step - len(seen)} to {step}; delete the folder")
      write_whole(path, serialization.to_bytes((step, state)))
      seconds = (time.monotonic() - started) / len(seen)
      append_line(folder / "metrics.jsonl", {"step": step} | means | {"seconds_a_step": round(seconds, 3)})
      logging.info("%s: step %d of %d, %s", folder.name, step, recipe.num_steps, json.dumps(means))
      seen, started = [], time.monotonic()
  return split_params(restorer.params)[1] | jax.tree.map(jnp.asarray, state.params)


def _check_recipe(path, recipe):
  content = recipe._asdict()
  if path.exists() and (found := json.loads(path.read_text())) != content:
    differing = ", ".join(name for name in content if found.get(name) != content[name])
    raise UserError(f"{path.parent} is a run of another recipe ({differing}): choose another --workdir")
  write_whole(path, json.dumps(content, indent=2) + "\n")
