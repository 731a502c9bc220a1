"""A restorer without a critic: the posterior mean, and rectified flows from it or from noise to images.

PMRF (Ohayon, Michaeli, Elad, arXiv 2410.00418): X0 = X*(y) + sigma_s N(0, I), X*(y) the mean of X given y, is carried
to the images by a flow that sees x_t alone. As published it draws the noise anew; with one draw for all it is a
function of y: the deterministic map of high perceptual quality. The sampler starts as N(0, I) instead, and its flow
sees X*(y) as well: a net of its own.
"""

import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import flow_training
from experiments.flow_matching import Velocity, VelocityNet, flow_loss, integrate
from experiments.flow_training import Recipe, steps_done
from prt_jax.data.evaluation_order import padded_rows
from prt_jax.degradations.registry import fields_of
from prt_jax.errors import UserError
from prt_jax.precision import in_float32
from prt_jax.randomness import sample_noise
from prt_jax.restorers import Restorer
from prt_jax.training import estimator
from prt_jax.training.gan import Game, init_state
from prt_jax.training.trained_estimator import training_attack

NUM_STEPS = 10  # K, of Euler's method


class Flow(NamedTuple):
  """Attributes:
  from_mean: whether X0 is X*(y) + noise_std N(0, I); else it is 1/2 + noise_std N(0, I), and the net sees X*(y).
  noise_std: pixels in [0, 1]; 1/2 is N(0, I) for pixels in [-1, 1].
  """

  from_mean: bool
  noise_std: float


FLOWS = {"from-mean": Flow(True, 0.1), "from-noise": Flow(False, 0.5)}
MEAN = "posterior-mean"
# What is measured: its flow, and whether it draws its noise anew (else one draw is that of every image).
COLUMNS = {
  "posterior-mean": (MEAN, False),
  "pmrf-fixed": ("from-mean", False),
  "pmrf": ("from-mean", True),
  "sampler-fixed": ("from-noise", False),
  "sampler": ("from-noise", True),
}


def posterior_mean(game: Game, weights: Any, y: jax.Array) -> jax.Array:
  """X*(y) [B,H,W,3], consistent: the package's own U-Net, without noise, by its running averages."""
  z = tuple(jnp.zeros((len(y), *shape)) for shape in game.noise_shapes)
  return estimator.restore(game, weights.params, weights.stats, y, z, train=False)[0]


def mean_loss(game: Game) -> flow_training.Loss:
  """The mean squared error of the U-Net's consistent output."""

  def loss(params, stats, batch, key):
    del key  # y has no noise here
    (x,) = batch
    y = game.degradation.clean(x)
    z = tuple(jnp.zeros((len(y), *shape)) for shape in game.noise_shapes)
    restored, stats = estimator.restore(game, params, stats, y, z, train=True)
    return jnp.mean((restored - x) ** 2), stats

  return loss


def begin(flow: Flow, mean: jax.Array, noise: jax.Array) -> jax.Array:
  """X0 [B,H,W,3] for X*(y) and noise ~ N(0, I)."""
  return (mean if flow.from_mean else 0.5) + flow.noise_std * noise


def velocity(flow: Flow, net: VelocityNet, params: Any, mean: jax.Array) -> Velocity:
  """(x, t) -> v: what the flow's net makes of what it sees."""

  def apply(x, t):
    found: Any = net.apply(params, x if flow.from_mean else jnp.concatenate([x, mean], -1), t)
    return found

  return apply


def velocity_loss(flow: Flow, net: VelocityNet) -> flow_training.Loss:
  """flow_loss of a batch (x, X*(y)), on X0 of fresh noise and t uniform, in equal shares of [0, 1] over the batch."""

  def loss(params, stats, batch, key):
    x, mean = batch
    noise_key, time_key = jax.random.split(key)
    x0 = begin(flow, mean, jax.random.normal(noise_key, x.shape))
    t = (jnp.arange(len(x)) + jax.random.uniform(time_key, (len(x),))) / len(x)
    return flow_loss(velocity(flow, net, params, mean), x0, x, t), stats

  return loss


class Nets(NamedTuple):
  """The posterior mean's weights, and those of the flows, by their names in FLOWS."""

  mean: flow_training.Weights
  flows: dict[str, flow_training.Weights]


def train(game: Game, images: np.ndarray, workdir: pathlib.Path, steps: dict[str, int], recipe: Recipe) -> Nets:
  """The posterior mean, then the flows, each trained on from where workdir/NAME is.

  Args:
    game: for its degradation, which must be without noise (X*(y) is computed once), and its U-Net.
    images: uint8 [N,H,W,3].
    workdir: of all three nets.
    steps: {name of a net: how many}.
    recipe: of all three.

  Raises:
    UserError: a posterior mean that would go on training under a flow that was trained with it.
  """
  if any(steps_done(workdir / name) for name in FLOWS) and steps_done(workdir / MEAN) != steps[MEAN]:
    raise UserError(
      f"{workdir}: its flows were trained with a posterior mean of {steps_done(workdir / MEAN)} steps, not of "
      f"{steps[MEAN]}: choose another --workdir"
    )
  net = VelocityNet(game.config.model.width)

  def start_mean(key):
    del key  # the game has its seed
    state = init_state(game)
    return flow_training.Weights(state.generator_params, state.batch_stats)

  def start_flow(flow):
    x = jnp.zeros((1, *game.degradation.image_shape[:2], 3 if flow.from_mean else 6))
    return jax.jit(lambda key: flow_training.Weights(net.init(key, x, jnp.zeros(1)), {}))

  mean = flow_training.train(recipe, start_mean, mean_loss(game), (images,), workdir / MEAN, steps[MEAN])
  missing = any(steps_done(workdir / name) < steps[name] for name in FLOWS)
  data = (images, means_of(game, mean, images)) if missing else (images,)
  return Nets(mean, {
    name: flow_training.train(recipe, start_flow(flow), velocity_loss(flow, net), data, workdir / name, steps[name])
    for name, flow in FLOWS.items()
  })  # fmt: skip


def means_of(game: Game, weights: Any, images: np.ndarray, batch_size: int = 100) -> np.ndarray:
  """X*(y) of each image, float32 [N,H,W,3]."""
  run = jax.jit(lambda weights, x: posterior_mean(game, weights, game.degradation.clean(x / jnp.float32(255))))
  batches = (padded_rows(np.arange(len(images)), first, batch_size) for first in range(0, len(images), batch_size))
  return np.concatenate([run(weights, images[rows]) for rows in batches])[: len(images)]


def make_restorer(game: Game, nets: Nets, column: str, num_steps: int = NUM_STEPS) -> Restorer:
  """The restorer of a key of COLUMNS: K Euler steps from X0, then the degradation's projection, exactly consistent."""
  name, fresh = COLUMNS[column]
  flow, net = FLOWS.get(name), VelocityNet(game.config.model.width)
  shape = game.degradation.image_shape
  fixed = jax.random.normal(jax.random.key(0), shape)

  @in_float32
  def apply(params, y, z):
    weights, flow_params = params
    mean = posterior_mean(game, weights, y)
    if flow is None:
      return mean
    x0 = begin(flow, mean, z[0] if fresh else jnp.broadcast_to(fixed, mean.shape))
    return game.degradation.project(integrate(velocity(flow, net, flow_params, mean), x0, num_steps), y)

  def draw(keys, measurement_shape, num_seeds):
    del measurement_shape
    return sample_noise(keys, (shape,), num_seeds)

  what = {"flow": flow and flow._asdict(), "fresh": fresh, "num_steps": num_steps, "width": net.width}
  return Restorer(
    name=column,
    apply=apply,
    params=(nets.mean, nets.flows[name].params if flow else ()),
    draw_noise=draw if fresh else None,
    degradation=game.degradation,
    image_size=game.config.data.image_size,
    training_attack=training_attack(game.config),
    identity=json.dumps(what | {"degradation": fields_of(game.config.degradation)}, sort_keys=True),
  )
