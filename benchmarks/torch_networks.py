"""The networks of prt_jax.models as PyTorch would have them written: NCHW, channels_last, native batch norm.

Peers for timing, of the same layers, sizes and initialisation; tests/benchmarks holds them to the same numbers.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

LEVELS = 4
CRITIC_LEVELS = ((1, 2), (2, 4), (4, 8), (8, 16), (16, 16), (16, 16))


class BatchNorm(nn.BatchNorm2d):
  """Normalises each of `groups` equal parts of the batch by its own statistics, as each noise seed is a batch here."""

  def forward(self, x: torch.Tensor, groups: int, track: bool) -> torch.Tensor:
    """track: update the running averages (one group)."""
    running = (self.running_mean, self.running_var) if track else (None, None)
    parts = [
      F.batch_norm(part, *running, self.weight, self.bias, training=True, momentum=self.momentum, eps=self.eps)
      for part in x.chunk(groups)
    ]
    return parts[0] if groups == 1 else torch.cat(parts)


class DoubleConv(nn.Module):
  """(Conv3x3, BatchNorm, ReLU) twice."""

  def __init__(self, in_channels: int, features: int):
    super().__init__()
    self.convs = nn.ModuleList(nn.Conv2d(c, features, 3, padding=1, bias=False) for c in (in_channels, features))
    self.norms = nn.ModuleList(BatchNorm(features) for _ in range(2))

  def forward(self, x: torch.Tensor, groups: int = 1, track: bool = False) -> torch.Tensor:
    for conv, norm in zip(self.convs, self.norms, strict=True):
      x = F.relu_(norm(conv(x), groups, track))
    return x


class Trunk(nn.Module):
  """All of the U-Net after its stem, which alone sees no noise."""

  def __init__(self, width: int, use_last_bias: bool):
    super().__init__()
    channels = [width * 2**level for level in range(LEVELS + 1)]
    self.down = nn.ModuleList(DoubleConv(channels[i] + 1, channels[i + 1]) for i in range(LEVELS))
    self.up = nn.ModuleList(DoubleConv(channels[i] + channels[i + 1], channels[i]) for i in reversed(range(LEVELS)))
    self.last = nn.Conv2d(width, 3, 1, bias=use_last_bias)

  def forward(self, x: torch.Tensor, z: tuple[torch.Tensor, ...], groups: int = 1, track: bool = False):
    """x: the stem's features [B,s,H,W]; z: the noise, [B,1,H,W] and smaller -> [B,3,H,W]."""
    skips = []
    for noise, down in zip(z, self.down, strict=True):
      skips.append(x)
      x = down(F.max_pool2d(torch.cat([x, noise], 1), 2), groups, track)
    for up, skip in zip(self.up, reversed(skips), strict=True):
      x = torch.cat([skip, F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)], 1)
      x = up(x, groups, track)
    return self.last(x)


class UNet(nn.Module):
  """The generator, in two parts: `stem` of the measurement, computed once, and `trunk`, of a seed's noise too."""

  def __init__(self, width: int, use_last_bias: bool):
    super().__init__()
    self.stem = DoubleConv(3, width)
    self.trunk = Trunk(width, use_last_bias)


class ResidualBlock(nn.Module):
  """x + residual_scale * conv(act(conv(act(x)))); a 1x1 convolution on the shortcut where channels change."""

  def __init__(self, in_channels: int, features: int, residual_scale: float):
    super().__init__()
    middle = min(in_channels, features)
    self.first = nn.Conv2d(in_channels, middle, 3, padding=1)
    self.second = nn.Conv2d(middle, features, 3, padding=1)
    self.shortcut = nn.Conv2d(in_channels, features, 1, bias=False) if in_channels != features else nn.Identity()
    self.residual_scale = residual_scale

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    residual = self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.2)), 0.2))
    return torch.add(self.shortcut(x), residual, alpha=self.residual_scale)


class Critic(nn.Module):
  """One logit an image: [B,3,H,W] -> [B]."""

  def __init__(self, width: int, image_size: int, residual_scale: float):
    super().__init__()
    self.stem = nn.Conv2d(3, width, 3, padding=1)
    channels = [width, *(width * multiple for multiples in CRITIC_LEVELS for multiple in multiples)]
    self.blocks = nn.ModuleList(
      ResidualBlock(before, after, residual_scale) for before, after in itertools.pairwise(channels)
    )
    self.dense = nn.Linear(channels[-1] * (image_size >> (len(CRITIC_LEVELS) - 1)) ** 2, 1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = self.stem(x)
    for i, block in enumerate(self.blocks):
      x = block(x)
      if i % 2 and i < len(self.blocks) - 1:
        x = F.avg_pool2d(x, 2)
    return self.dense(F.leaky_relu(x, 0.2).flatten(1))[:, 0]
