"""An independent FID InceptionV3 in PyTorch, written block by block, for random weights.

Peer of prt_jax.features.inception: modules have the official state dict's names, pools and
resize are written in another way (gathers instead of matrices, PyTorch's own pools).
`quirk` undoes one of the things that make the network FID's.
"""

import torch
from torch import nn
from torch.nn import functional as F


class ConvBn(nn.Module):
  def __init__(self, inputs, outputs, kernel, stride=1, padding=0):
    super().__init__()
    self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    self.bn = nn.BatchNorm2d(outputs, eps=0.001)

  def forward(self, x):
    return F.relu(self.bn(self.conv(x)))


def average_pool(x, quirk):
  return F.avg_pool2d(x, 3, 1, 1, count_include_pad=quirk == "padding counts")


class BlockA(nn.Module):
  def __init__(self, inputs, pool):
    super().__init__()
    self.branch1x1 = ConvBn(inputs, 64, 1)
    self.branch5x5_1, self.branch5x5_2 = ConvBn(inputs, 48, 1), ConvBn(48, 64, 5, padding=2)
    self.branch3x3dbl_1 = ConvBn(inputs, 64, 1)
    self.branch3x3dbl_2, self.branch3x3dbl_3 = ConvBn(64, 96, 3, padding=1), ConvBn(96, 96, 3, padding=1)
    self.branch_pool = ConvBn(inputs, pool, 1)

  def forward(self, x, quirk):
    five = self.branch5x5_2(self.branch5x5_1(x))
    double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
    return torch.cat([self.branch1x1(x), five, double, self.branch_pool(average_pool(x, quirk))], 1)


class BlockB(nn.Module):
  def __init__(self, inputs):
    super().__init__()
    self.branch3x3 = ConvBn(inputs, 384, 3, 2)
    self.branch3x3dbl_1, self.branch3x3dbl_2 = ConvBn(inputs, 64, 1), ConvBn(64, 96, 3, padding=1)
    self.branch3x3dbl_3 = ConvBn(96, 96, 3, 2)

  def forward(self, x, _):
    double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
    return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
  def __init__(self, width):
    super().__init__()
    row, column = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
    self.branch1x1 = ConvBn(768, 192, 1)
    self.branch7x7_1, self.branch7x7_2 = ConvBn(768, width, 1), ConvBn(width, width, **row)
    self.branch7x7_3 = ConvBn(width, 192, **column)
    self.branch7x7dbl_1, self.branch7x7dbl_2 = ConvBn(768, width, 1), ConvBn(width, width, **column)
    self.branch7x7dbl_3, self.branch7x7dbl_4 = ConvBn(width, width, **row), ConvBn(width, width, **column)
    self.branch7x7dbl_5 = ConvBn(width, 192, **row)
    self.branch_pool = ConvBn(768, 192, 1)

  def forward(self, x, quirk):
    seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
    double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
    double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
    return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(average_pool(x, quirk))], 1)


class BlockD(nn.Module):
  def __init__(self):
    super().__init__()
    self.branch3x3_1, self.branch3x3_2 = ConvBn(768, 192, 1), ConvBn(192, 320, 3, 2)
    self.branch7x7x3_1, self.branch7x7x3_2 = ConvBn(768, 192, 1), ConvBn(192, 192, (1, 7), padding=(0, 3))
    self.branch7x7x3_3, self.branch7x7x3_4 = ConvBn(192, 192, (7, 1), padding=(3, 0)), ConvBn(192, 192, 3, 2)

  def forward(self, x, _):
    seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
    return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
  def __init__(self, inputs, pool):
    super().__init__()
    row, column = {"kernel": (1, 3), "padding": (0, 1)}, {"kernel": (3, 1), "padding": (1, 0)}
    self.pool = pool
    self.branch1x1 = ConvBn(inputs, 320, 1)
    self.branch3x3_1 = ConvBn(inputs, 384, 1)
    self.branch3x3_2a, self.branch3x3_2b = ConvBn(384, 384, **row), ConvBn(384, 384, **column)
    self.branch3x3dbl_1, self.branch3x3dbl_2 = ConvBn(inputs, 448, 1), ConvBn(448, 384, 3, padding=1)
    self.branch3x3dbl_3a, self.branch3x3dbl_3b = ConvBn(384, 384, **row), ConvBn(384, 384, **column)
    self.branch_pool = ConvBn(inputs, 192, 1)

  def forward(self, x, quirk):
    three = self.branch3x3_1(x)
    double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
    maximum = self.pool == "max" and quirk != "average pool last"
    pooled = F.max_pool2d(x, 3, 1, 1) if maximum else average_pool(x, quirk)
    parts = [self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three)]
    parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
    return torch.cat(parts, 1)


def resize_by_gathering(x, size=299):
  """TensorFlow 1's bilinear resize of [B, C, H, W]: four neighbours, from the pixels' left edges."""
  position = [torch.arange(size, dtype=torch.float64) * (length / size) for length in x.shape[2:]]
  low = [p.long() for p in position]
  high = [(index + 1).clamp_max(length - 1) for index, length in zip(low, x.shape[2:], strict=True)]
  down, right = (position[0] - low[0])[:, None], position[1] - low[1]
  x = x.double()
  top = x[:, :, low[0]][..., low[1]] * (1 - right) + x[:, :, low[0]][..., high[1]] * right
  bottom = x[:, :, high[0]][..., low[1]] * (1 - right) + x[:, :, high[0]][..., high[1]] * right
  return (top * (1 - down) + bottom * down).float()


class TorchInception(nn.Module):
  """Random weights whose activations keep their size through the layers."""

  def __init__(self, seed=0):
    super().__init__()
    torch.manual_seed(seed)
    self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = ConvBn(3, 32, 3, 2), ConvBn(32, 32, 3)
    self.Conv2d_2b_3x3, self.Conv2d_3b_1x1 = ConvBn(32, 64, 3, padding=1), ConvBn(64, 80, 1)
    self.Conv2d_4a_3x3 = ConvBn(80, 192, 3)
    self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
    self.Mixed_6a = BlockB(288)
    self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = BlockC(128), BlockC(160), BlockC(160), BlockC(192)
    self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = BlockD(), BlockE(1280, "average"), BlockE(2048, "max")
    self.fc = nn.Linear(2048, 1008)
    for module in self.modules():
      if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
      if isinstance(module, nn.BatchNorm2d):
        for tensor, low, high in [
          (module.weight, 0.8, 1.2), (module.bias, -0.2, 0.2), (module.running_mean, -0.2, 0.2),
          (module.running_var, 0.7, 1.3),
        ]:  # fmt: skip
          nn.init.uniform_(tensor, low, high)
    self.eval()

  @torch.no_grad()
  def forward(self, images, quirk=""):
    """(features [B, 2048], unbiased logits [B, 1008]) of images [B, H, W, 3], 0 .. 255."""
    x = images.permute(0, 3, 1, 2)
    if quirk in ("half-pixel resize", "as piq"):
      x = F.interpolate(x.float(), (299, 299), mode="bilinear", align_corners=False)
    else:
      x = resize_by_gathering(x)
    x = x / 127.5 - 1 if quirk in ("scaled by 127.5", "as piq") else (x - 128) / 128
    x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
    x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
    x = F.max_pool2d(x, 3, 2)
    for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
      x = getattr(self, f"Mixed_{name}")(x, quirk)
    x = x.mean((2, 3))
    return x, x @ self.fc.weight.T
