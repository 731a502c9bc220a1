"""SRFlow as a PyTorch module in BOTH directions, so that a port of the sampling direction is held to an inverse.

forward(gt, y) encodes an image into Z; reverse(y, z) is computed with explicit matrix inverses.
"""

import torch
from torch import nn
from torch.nn import functional as F

from tests.restorers.torch_peers import RRDBNet, conv


def actnorm(channels):
  module = nn.Module()
  module.bias = nn.Parameter(0.1 * torch.randn(1, channels, 1, 1))
  module.logs = nn.Parameter(0.1 * torch.randn(1, channels, 1, 1))
  return module


class NormedConv(nn.Conv2d):
  def __init__(self, in_channels, out_channels, size):
    super().__init__(in_channels, out_channels, size, padding=size // 2, bias=False)
    self.actnorm = actnorm(out_channels)

  def forward(self, x):
    return (super().forward(x) + self.actnorm.bias) * self.actnorm.logs.exp()


class ScaledConv(nn.Conv2d):
  def __init__(self, in_channels, out_channels):
    super().__init__(in_channels, out_channels, 3, padding=1)
    self.logs = nn.Parameter(0.1 * torch.randn(out_channels, 1, 1))

  def forward(self, x):
    return super().forward(x) * torch.exp(3 * self.logs)


def net(in_channels, hidden, out_channels):
  return nn.Sequential(
    NormedConv(in_channels, hidden, 3), nn.ReLU(), NormedConv(hidden, hidden, 1), nn.ReLU(),
    ScaledConv(hidden, out_channels),
  )


def shift_scale(h):
  return h[:, 0::2], torch.sigmoid(h[:, 1::2] + 2) + 1e-4


class Step(nn.Module):
  def __init__(self, channels, condition, hidden, coupled):
    super().__init__()
    self.actnorm = actnorm(channels)
    self.invconv = nn.Module()
    self.invconv.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0] * 1.1)
    if coupled:
      half = channels // 2
      self.affine = nn.Module()
      self.affine.fAffine = net(half + condition, hidden, 2 * (channels - half))
      self.affine.fFeatures = net(condition, hidden, 2 * channels)

  def forward(self, x, condition):
    x = (x + self.actnorm.bias) * self.actnorm.logs.exp()
    x = torch.einsum("oi,bihw->bohw", self.invconv.weight, x)
    if hasattr(self, "affine"):
      shift, scale = shift_scale(self.affine.fFeatures(condition))
      x = (x + shift) * scale
      fixed, changed = x.chunk(2, 1)
      shift, scale = shift_scale(self.affine.fAffine(torch.cat([fixed, condition], 1)))
      x = torch.cat([fixed, (changed + shift) * scale], 1)
    return x

  def reverse(self, x, condition):
    if hasattr(self, "affine"):
      fixed, changed = x.chunk(2, 1)
      shift, scale = shift_scale(self.affine.fAffine(torch.cat([fixed, condition], 1)))
      x = torch.cat([fixed, changed / scale - shift], 1)
      shift, scale = shift_scale(self.affine.fFeatures(condition))
      x = x / scale - shift
    x = torch.einsum("oi,bihw->bohw", torch.linalg.inv(self.invconv.weight.double()).float(), x)
    return x / self.actnorm.logs.exp() - self.actnorm.bias


class Split(nn.Module):
  def __init__(self, channels):
    super().__init__()
    self.conv = ScaledConv(channels // 2, channels)

  def forward(self, x):
    kept, taken = x.chunk(2, 1)
    h = self.conv(kept)
    return kept, (taken - h[:, 0::2]) / h[:, 1::2].exp()

  def reverse(self, kept, noise):
    h = self.conv(kept)
    return torch.cat([kept, h[:, 0::2] + h[:, 1::2].exp() * noise], 1)


class SRFlow(nn.Module):
  def __init__(self, width=64, growth=32, num_blocks=23, coupled=16, hidden=64, stacked=(1, 8, 15, 22)):
    super().__init__()
    self.stacked = stacked
    self.RRDB = RRDBNet(width, growth, num_blocks)
    condition = width * (1 + len(stacked))
    layers, channels = [], 3
    for level in range(3):
      channels *= 4
      layers.append(nn.Identity())  # the squeeze
      layers += [Step(channels, condition, hidden, index >= 2) for index in range(2 + coupled)]
      if level == 0:
        layers.append(Split(channels))
        channels //= 2
    self.flowUpsamplerNet = nn.Module()
    self.flowUpsamplerNet.layers = nn.ModuleList(layers)
    self.flowUpsamplerNet.f = nn.Sequential(conv(condition, 96))

  def conditions(self, y):
    outputs, low, doubled, _ = self.RRDB.features(y)
    stacked = torch.cat([outputs[index] for index in self.stacked], 1)
    halved = F.interpolate(low, scale_factor=0.5, mode="bilinear", align_corners=False)
    return [torch.cat([x, F.interpolate(stacked, x.shape[2:])], 1) for x in (doubled, low, halved)]

  def encode(self, x, y):
    conditions, level, noise = self.conditions(y), -1, None
    for layer in self.flowUpsamplerNet.layers:
      if isinstance(layer, Step):
        x = layer(x, conditions[level])
      elif isinstance(layer, Split):
        x, noise = layer(x)
      else:
        level, x = level + 1, F.pixel_unshuffle(x, 2)
    return noise, x

  def reverse(self, y, z):
    conditions, level, (noise, x) = self.conditions(y), 2, z
    for layer in reversed(self.flowUpsamplerNet.layers):
      if isinstance(layer, Step):
        x = layer.reverse(x, conditions[level])
      elif isinstance(layer, Split):
        x = layer.reverse(x, noise)
      else:
        level, x = level - 1, F.pixel_shuffle(x, 2)
    return x
