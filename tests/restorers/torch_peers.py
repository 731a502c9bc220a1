"""The published networks as PyTorch modules with their authors' parameter names: independent peers of the ports.

Written from the papers' descriptions. load_state_dict(strict=True) with an author's checkpoint checks the names.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from experiments.torch_imdn import conv


class SRResNet(nn.Module):
  def __init__(self, width=64, num_residuals=5, scale=4):
    super().__init__()
    self.num_residuals = num_residuals
    self.block1 = nn.Sequential(conv(3, width, 9), nn.PReLU())
    for i in range(2, num_residuals + 2):
      block = nn.Module()
      block.conv1, block.bn1, block.prelu = conv(width, width), nn.BatchNorm2d(width), nn.PReLU()
      block.conv2, block.bn2 = conv(width, width), nn.BatchNorm2d(width)
      setattr(self, f"block{i}", block)
    self.after = f"block{num_residuals + 2}", f"block{num_residuals + 3}"
    setattr(self, self.after[0], nn.Sequential(conv(width, width), nn.PReLU()))
    stages = nn.ModuleList()
    for _ in range(int(math.log2(scale))):
      stage = nn.Module()
      stage.conv, stage.prelu = conv(width, 4 * width), nn.PReLU()
      stages.append(stage)
    stages.append(conv(width, 3, 9))
    setattr(self, self.after[1], stages)

  def forward(self, y):
    x = stem = self.block1(y)
    for i in range(2, self.num_residuals + 2):
      block = getattr(self, f"block{i}")
      x = x + block.bn2(block.conv2(block.prelu(block.bn1(block.conv1(x)))))
    x = stem + getattr(self, self.after[0])(x)
    *stages, last = getattr(self, self.after[1])
    for stage in stages:
      x = stage.prelu(F.pixel_shuffle(stage.conv(x), 2))
    return (torch.tanh(last(x)) + 1) / 2


class Shifter(nn.Module):
  def __init__(self):
    super().__init__()
    self.shifter = conv(3, 3, 1)

  def forward(self, x):
    return self.shifter(x)


class Body(nn.Module):
  def __init__(self, *layers):
    super().__init__()
    self.body = nn.Sequential(*layers)

  def forward(self, x):
    return self.body(x)


def cascade(module, units, x):
  joined = x
  for i, unit in enumerate(units, start=1):
    joined = torch.cat([joined, unit(x)], 1)
    x = getattr(module, f"c{i}")(joined)
  return x


def add_fusions(module, width):
  for i in (1, 2, 3):
    setattr(module, f"c{i}", Body(conv((i + 1) * width, width, 1), nn.ReLU()))


class CarnBlock(nn.Module):
  def __init__(self, width, groups):
    super().__init__()
    self.b1 = Body(
      conv(width, width, groups=groups), nn.ReLU(), conv(width, width, groups=groups), nn.ReLU(), conv(width, width, 1)
    )
    add_fusions(self, width)

  def forward(self, x):
    return cascade(self, [lambda x: F.relu(self.b1(x) + x)] * 3, x)


class CarnM(nn.Module):
  def __init__(self, width=64, groups=4, scale=4):
    super().__init__()
    self.scale = scale
    self.sub_mean, self.add_mean = Shifter(), Shifter()
    self.entry, self.exit = conv(3, width), conv(width, 3)
    self.b1, self.b2, self.b3 = (CarnBlock(width, groups) for _ in range(3))
    add_fusions(self, width)

    def up(factor):
      return conv(width, width * factor**2, groups=groups), nn.ReLU(), nn.PixelShuffle(factor)

    self.upsample = nn.Module()
    self.upsample.up2, self.upsample.up3, self.upsample.up4 = Body(*up(2)), Body(*up(3)), Body(*up(2), *up(2))

  def forward(self, y):
    x = cascade(self, [self.b1, self.b2, self.b3], self.entry(self.sub_mean(y)))
    return self.add_mean(self.exit(getattr(self.upsample, f"up{self.scale}")(x)))


class PAN(nn.Module):
  def __init__(self, width=40, up_width=24, num_blocks=16, scale=4):
    super().__init__()
    self.scale, self.stages = scale, (2, 2) if scale == 4 else (scale,)
    half = width // 2
    self.conv_first = conv(3, width)
    self.SCPA_trunk = nn.ModuleList()
    for _ in range(num_blocks):
      block = nn.Module()
      block.conv1_a, block.conv1_b = conv(width, half, 1, bias=False), conv(width, half, 1, bias=False)
      block.k1 = nn.Sequential(conv(half, half, bias=False))
      block.PAConv = nn.Module()
      block.PAConv.k2 = conv(half, half, 1)
      block.PAConv.k3, block.PAConv.k4 = conv(half, half, bias=False), conv(half, half, bias=False)
      block.conv3 = conv(width, width, 1, bias=False)
      self.SCPA_trunk.append(block)
    self.trunk_conv = conv(width, width)
    for i in range(1, len(self.stages) + 1):
      setattr(self, f"upconv{i}", conv(width if i == 1 else up_width, up_width))
      attention = nn.Module()
      attention.conv = conv(up_width, up_width, 1)
      setattr(self, f"att{i}", attention)
      setattr(self, f"HRconv{i}", conv(up_width, up_width))
    self.conv_last = conv(up_width, 3)

  def forward(self, y):
    x = stem = self.conv_first(y)
    for block in self.SCPA_trunk:
      a, b = F.leaky_relu(block.conv1_a(x), 0.2), F.leaky_relu(block.conv1_b(x), 0.2)
      a = F.leaky_relu(block.k1(a), 0.2)
      b = F.leaky_relu(block.PAConv.k4(block.PAConv.k3(b) * torch.sigmoid(block.PAConv.k2(b))), 0.2)
      x = block.conv3(torch.cat([a, b], 1)) + x
    x = stem + self.trunk_conv(x)
    for i, factor in enumerate(self.stages, start=1):
      x = getattr(self, f"upconv{i}")(F.interpolate(x, scale_factor=factor, mode="nearest"))
      x = F.leaky_relu(x * torch.sigmoid(getattr(self, f"att{i}").conv(x)), 0.2)
      x = F.leaky_relu(getattr(self, f"HRconv{i}")(x), 0.2)
    return self.conv_last(x) + F.interpolate(y, scale_factor=self.scale, mode="bilinear", align_corners=False)


class Compact(nn.Module):
  def __init__(self, width=64, num_convs=16, scale=4):
    super().__init__()
    self.scale = scale
    layers = [conv(3, width), nn.PReLU(width)]
    for _ in range(num_convs):
      layers += [conv(width, width), nn.PReLU(width)]
    self.body = nn.Sequential(*layers, conv(width, 3 * scale**2))

  def forward(self, y):
    return F.pixel_shuffle(self.body(y), self.scale) + F.interpolate(y, scale_factor=self.scale, mode="nearest")


class DenseBlock(nn.Module):
  def __init__(self, width, growth):
    super().__init__()
    for i in range(5):
      setattr(self, f"conv{i + 1}", conv(width + i * growth, growth if i < 4 else width))

  def forward(self, x):
    joined = x
    for i in range(4):
      joined = torch.cat([joined, F.leaky_relu(getattr(self, f"conv{i + 1}")(joined), 0.2)], 1)
    return x + 0.2 * self.conv5(joined)


class RRDBNet(nn.Module):
  def __init__(self, width=64, growth=32, num_blocks=23):
    super().__init__()
    self.conv_first, self.conv_last = conv(3, width), conv(width, 3)
    self.RRDB_trunk = nn.ModuleList()
    for _ in range(num_blocks):
      block = nn.Module()
      block.RDB1, block.RDB2, block.RDB3 = (DenseBlock(width, growth) for _ in range(3))
      self.RRDB_trunk.append(block)
    self.trunk_conv, self.upconv1 = conv(width, width), conv(width, width)
    self.upconv2, self.HRconv = conv(width, width), conv(width, width)

  def features(self, y):
    x = stem = self.conv_first(y)
    outputs = []
    for block in self.RRDB_trunk:
      x = x + 0.2 * block.RDB3(block.RDB2(block.RDB1(x)))
      outputs.append(x)
    low = stem + self.trunk_conv(x)
    doubled = self.upconv1(F.interpolate(low, scale_factor=2, mode="nearest"))
    quadrupled = self.upconv2(F.interpolate(F.leaky_relu(doubled, 0.2), scale_factor=2, mode="nearest"))
    return outputs, low, doubled, quadrupled

  def forward(self, y):
    return self.conv_last(F.leaky_relu(self.HRconv(F.leaky_relu(self.features(y)[-1], 0.2)), 0.2))


class EDSR(nn.Module):
  def __init__(self, width=256, num_blocks=32, residual=0.1, scale=4):
    super().__init__()
    self.residual, self.rgb_range = residual, 255.0
    self.sub_mean, self.add_mean = conv(3, 3, 1), conv(3, 3, 1)
    self.head = nn.Sequential(conv(3, width))
    blocks = [Body(conv(width, width), nn.ReLU(), conv(width, width)) for _ in range(num_blocks)]
    self.body = nn.ModuleList([*blocks, conv(width, width)])
    stages = []
    for factor in (2, 2) if scale == 4 else (scale,):
      stages += [conv(width, width * factor**2), nn.PixelShuffle(factor)]
    self.tail = nn.Sequential(nn.Sequential(*stages), conv(width, 3))

  def forward(self, y):
    x = stem = self.head(self.sub_mean(self.rgb_range * y))
    *blocks, last = self.body
    for block in blocks:
      x = x + self.residual * block(x)
    return self.add_mean(self.tail(stem + last(x))) / self.rgb_range
