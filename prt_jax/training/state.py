"""What a training run carries from step to step."""

from typing import Any

import jax
from flax import struct


class TrainState(struct.PyTreeNode):
  """The whole mutable state of a run; everything else is a function of the config.

  Attributes:
    step: int32, the number of finished training steps (one critic and one generator step each).
    generator_params, critic_params: float32 parameter trees.
    batch_stats: running BatchNorm averages of the generator, updated by its plain forward pass alone.
    generator_optimizer, critic_optimizer: optax states.
    interval: {name: (sum, count)}, float32, of each training scalar since the last multiple of
      train.log_every_steps; part of the state so that a resumed run logs what the unbroken one does.
    key: the run's typed PRNG key, constant.
  """

  step: jax.Array
  generator_params: Any
  critic_params: Any
  batch_stats: Any
  generator_optimizer: Any
  critic_optimizer: Any
  interval: dict[str, tuple[jax.Array, jax.Array]]
  key: Any

  def on_host(self) -> "TrainState":
    """The same state with its arrays on the host; its key as it is."""
    return jax.device_get(self.replace(key=None)).replace(key=self.key)
