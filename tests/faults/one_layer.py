"""The tiny config with nets of one layer, which start in seconds: a fault is met by all else that a run consists of."""

import jax.numpy as jnp
from flax import linen as nn

from configs import default
from prt_jax.models import NETWORKS, Players
from tests import tiny


class Generator(nn.Module):
  """A 1x1 convolution of the network input and the noise, normalised over the batch."""

  axis_name: str | None

  def stem(self, x, train):
    """What has seen no noise: the input itself."""
    del train
    return x

  def __call__(self, x, z, train):
    return self.complete(x, z, train)

  @nn.compact
  def complete(self, x, z, train):
    """[B,H,W,3] and Z -> [B,H,W,3]."""
    # No biases: their gradients are zero but for rounding, of which Adam makes steps as large as any.
    x = nn.Dense(3, use_bias=False)(jnp.concatenate([x, z[0]], -1))
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, axis_name=self.axis_name, use_bias=False)(x)


class Critic(nn.Module):
  """A weighted sum of a smooth function of the pixels."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(1)(nn.softplus(x).reshape(len(x), -1))[:, 0]


def _players(config, degradation, *, axis_name, platform, dtype):
  del degradation, platform, dtype
  return Players(Generator(axis_name), Critic(), ((config.data.image_size, config.data.image_size, 1),))


def get_config(arg=default.VARIANTS[0]):
  """tests/tiny.py's, and the nets put in the place of the U-Net and its critic."""
  NETWORKS["unet"] = _players
  config = tiny.get_config(arg)
  config.unlock()
  config.train.update(num_steps=24, log_every_steps=3, checkpoint_every_steps=4, image_every_steps=12)
  config.train.milestone_every_steps = 8
  config.eval.update(every_steps=10, watch_examples=4, best_by="psnr_db")
  config.optim.decay_steps = (12,)
  config.eval.update(num_examples=8, batch_size=4, num_std_seeds=4, feature_extractor="squeezenet")  # has no weights
  config.eval.update(strong_num_examples=4, strong_num_steps=3, strong_num_restarts=1)
  return config.lock()
