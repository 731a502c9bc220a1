"""The two-player game of a config: its networks, degradation and optimisers, ready to be applied.

Everything in a Game is immutable; the functions here and in step.py take it as their first
argument and are pure.
"""

import dataclasses
import functools
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from prt_jax import devices
from prt_jax.config_check import checked
from prt_jax.degradations import Degradation, make_degradation
from prt_jax.errors import UserError
from prt_jax.models import NETWORKS
from prt_jax.models.formulations import Formulation, formulation_of
from prt_jax.models.layers import KERNEL_INITS
from prt_jax.precision import PRECISIONS
from prt_jax.randomness import DISTRIBUTIONS, Stream, zero_noise
from prt_jax.training.state import TrainState

# Options of XLA's CPU compiler for a program that runs once.
_QUICK_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

# What a plain training step measures, and what a robust one adds.
PLAIN_SCALARS = (
  "generator_loss",
  "critic_loss",
  "critic_real",
  "critic_fake",
  "r1",
  "consistency_psnr",
  "consistency_max_error",
  "generator_gradient_norm",
  "critic_gradient_norm",
  "learning_rate",
)
ROBUST_SCALARS = ("robustness_loss", "delta_norm", "ai_psnr", "robust_gradient_norm")
SEED_SCALARS = ("seed_std",)  # what a robust step adds where it has several seeds


@dataclasses.dataclass(frozen=True, eq=False)
class Game:
  """Attributes:
  generator, critic, noise_shapes: the players, see models/players.py.
  degradation: see degradations.py.
  schedule: step -> learning rate of both players.
  optimizer: the optax transformation of both players.
  config: the run's config; read, never changed.
  axis_name: the mapped device axis that statistics and gradients are averaged over, or None.
  seeds_at_once: attack.seeds_at_once, with a number for its 0.
  formulation: how the networks are computed where they will run.
  """

  generator: nn.Module
  critic: nn.Module
  degradation: Degradation
  noise_shapes: tuple[tuple[int, ...], ...]
  schedule: optax.Schedule
  optimizer: optax.GradientTransformation
  config: ConfigDict
  axis_name: str | None
  seeds_at_once: int
  formulation: Formulation

  @property
  def restores_images(self) -> bool:
    """Whether x is an image, and no point of the plane."""
    return len(self.degradation.image_shape) == 3

  @property
  def cycle(self) -> tuple[bool, ...]:
    """Which steps of a cycle are robust: the last of robust_every_steps, or none in an erratic run."""
    optim = self.config.optim
    if optim.robust_weight == 0:
      return (False,)
    return (False,) * (optim.robust_every_steps - 1) + (True,)

  @property
  def scalar_names(self) -> tuple[str, ...]:
    """The scalars that the run's steps measure."""
    if not any(self.cycle):
      return PLAIN_SCALARS
    return PLAIN_SCALARS + ROBUST_SCALARS + (SEED_SCALARS if self.config.attack.num_seeds > 1 else ())


def make_game(
  config: ConfigDict, *, axis_name: str | None = None, platform: str | None = None, dtype: str | None = None
) -> Game:
  """Builds the game a config describes.

  Args:
    config: see prt_jax/config.py.
    axis_name: the device axis of the step, None where it runs outside a mapped axis.
    platform: 'cpu', 'gpu' or 'tpu', for the formulation of convolutions; None = JAX's default backend.
    dtype: what the nets compute in, whatever the run trains in; None = model.dtype.

  Raises:
    UserError: a field whose value cannot work, before anything is compiled.
  """
  config = checked(config)
  model, optim = config.model, config.optim
  check_choice("model.kind", model.kind, NETWORKS)
  check_choice("model.dtype", model.dtype, DTYPES)
  check_choice("model.precision", model.precision, PRECISIONS)
  check_choice("model.init", model.init, KERNEL_INITS)
  check_choice("model.noise", model.noise, DISTRIBUTIONS)
  check_choice("attack.batch_norm", config.attack.batch_norm, ("batch", "frozen"))
  schedule = optax.piecewise_constant_schedule(
    optim.learning_rate, {int(step): float(optim.decay_factor) for step in optim.decay_steps}
  )
  degradation = make_degradation(config.degradation, config.data.image_size)
  players = NETWORKS[model.kind](
    config, degradation, axis_name=axis_name, platform=platform, dtype=DTYPES[dtype or model.dtype]
  )
  # An accelerator wants work in parallel.
  seeds_at_once = players.seeds_at_once_on_cpu if (platform or devices.backend()) == "cpu" else 0
  return Game(
    generator=players.generator,
    critic=players.critic,
    degradation=degradation,
    noise_shapes=players.noise_shapes,
    schedule=schedule,
    optimizer=optax.adam(schedule, optim.b1, optim.b2),
    config=config,
    axis_name=axis_name,
    seeds_at_once=config.attack.seeds_at_once or seeds_at_once or config.attack.num_seeds,
    formulation=formulation_of(platform),
  )


def check_choice(field: str, value: str, choices: Collection[str]) -> None:
  """UserError unless value is one of choices."""
  if value not in choices:
    raise UserError(f"{field}={value!r} is unknown: choose one of {', '.join(choices)}")


def init_state(game: Game) -> TrainState:
  """The state before the first step; a pure function of the config (its seed included)."""
  # Compiled as one program: op by op, the first call would compile hundreds of small ones. It runs once, and on a CPU
  # LLVM would spend nine tenths of its time on optimising the random number generators.
  options = _QUICK_COMPILE if devices.backend() == "cpu" else None
  state = jax.jit(lambda: _init_state(game), compiler_options=options)()
  return state.replace(key=jax.random.key(game.config.seed))


def state_shapes(game: Game) -> TrainState:
  """The shapes and types of init_state, without computing it."""
  state = jax.eval_shape(lambda: _init_state(game))
  return state.replace(key=jax.eval_shape(lambda: jax.random.key(game.config.seed)))


def empty_state(game: Game) -> TrainState:
  """A state of init_state's shapes to read one into: numpy arrays that nobody has written to, which cost nothing."""
  shapes = state_shapes(game).replace(key=None)
  state = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)
  return state.replace(key=jax.random.key(game.config.seed))


def _init_state(game: Game) -> TrainState:
  key = jax.random.key(game.config.seed)
  x = jnp.zeros((1, *game.degradation.image_shape), jnp.float32)
  y = game.degradation.clean(x)
  inputs = game.degradation.network_input(y)
  z = jax.tree.map(lambda noise: noise[0], zero_noise(1, game.noise_shapes))
  # Not train: the axis of synchronised statistics does not exist here.
  output, variables = game.generator.init_with_output(
    jax.random.fold_in(key, Stream.INIT_GENERATOR), inputs, z, train=False
  )
  logits, critic_variables = game.critic.init_with_output(jax.random.fold_in(key, Stream.INIT_CRITIC), x)
  _check_shapes(game, y, output, logits)
  critic_params = critic_variables["params"]
  return TrainState(
    step=jnp.int32(0),
    generator_params=variables["params"],
    critic_params=critic_params,
    batch_stats=variables.get("batch_stats", {}),
    generator_optimizer=game.optimizer.init(variables["params"]),
    critic_optimizer=game.optimizer.init(critic_params),
    interval={name: (jnp.float32(0), jnp.float32(0)) for name in game.scalar_names},
    key=None,
  )


def _check_shapes(game, y, output, logits):
  """UserError where a network of the registry gives something else than one restoration and one logit an example."""
  kind, wanted = f"model.kind={game.config.model.kind!r}", (1, *game.degradation.image_shape)
  try:
    restored = jax.eval_shape(game.degradation.project, output, y).shape
  except (TypeError, ValueError):
    restored = None
  if restored != wanted:
    raise UserError(f"{kind}: its generator gives {output.shape}, of which no restoration {wanted} can be made")
  if logits.shape != (1,):
    raise UserError(f"{kind}: its critic gives {logits.shape} for one example: give one logit an example, [B]")


@functools.partial(jax.jit, static_argnames="game")
def critic_logits(game: Game, params: Any, x: jax.Array) -> jax.Array:
  """The critic's logits [B] of images (or points) x [B, ...]."""
  logits: Any = game.critic.apply({"params": params}, x)
  return logits
