"""IMDN in PyTorch, with the module names of its authors' checkpoint; written independently of prt_jax's."""

import torch
from torch import nn
from torch.nn import functional as F


def conv(in_channels, out_channels, size=3, **options):
  return nn.Conv2d(in_channels, out_channels, size, padding=size // 2, **options)


class IMDN(nn.Module):
  def __init__(self, width=64, num_blocks=6, attention=4, scale=4):
    super().__init__()
    self.num_blocks, self.scale = num_blocks, scale
    kept, rest = width // 4, width - width // 4
    self.fea_conv = conv(3, width)
    for i in range(1, num_blocks + 1):
      block = nn.Module()
      block.c1, block.c2, block.c3 = conv(width, width), conv(rest, width), conv(rest, width)
      block.c4, block.c5 = conv(rest, kept), conv(width, width, 1)
      block.cca = nn.Module()
      block.cca.conv_du = nn.Sequential(conv(width, attention, 1), nn.ReLU(), conv(attention, width, 1), nn.Sigmoid())
      setattr(self, f"IMDB{i}", block)
    self.c = nn.Sequential(conv(width * num_blocks, width, 1), nn.LeakyReLU(0.05))
    self.LR_conv = conv(width, width)
    self.upsampler = nn.Sequential(conv(width, 3 * scale**2), nn.PixelShuffle(scale))

  def forward(self, y):
    x = stem = self.fea_conv(y)
    outputs = []
    for i in range(1, self.num_blocks + 1):
      block, kept, rest = getattr(self, f"IMDB{i}"), [], x
      for layer in (block.c1, block.c2, block.c3):
        full = F.leaky_relu(layer(rest), 0.05)
        kept.append(full[:, : x.shape[1] // 4])
        rest = full[:, x.shape[1] // 4 :]
      joined = torch.cat([*kept, block.c4(rest)], 1)
      contrast = joined.mean((2, 3), keepdim=True) + joined.var((2, 3), keepdim=True, correction=0).sqrt()
      x = block.c5(joined * block.cca.conv_du(contrast)) + x
      outputs.append(x)
    return self.upsampler(self.LR_conv(self.c(torch.cat(outputs, 1))) + stem)
