"""SAFMN as it entered the NTIRE 2023 challenge (Sun et al. 2023; sunny2109/SAFMN's names), for spandrel.

spandrel 0.4 has the network of the paper. The challenge's has no layer normalisation in its blocks but one global
response normalisation before them, no biases there, coarser levels and a bilinear skip. This file is in PyTorch, since
spandrel builds and tells apart networks that are; it shows what an architecture that spandrel lacks takes.
"""

import math

import torch
from spandrel import Architecture, ImageModelDescriptor, SizeRequirements
from spandrel.util import KeyCondition, get_seq_len
from torch import nn
from torch.nn import functional

_LEVELS = 4  # scales of features in one block
_COARSEST = 2**_LEVELS  # pixels of y that the coarsest level joins to one


class ResponseNorm(nn.Module):
  """Global response normalisation (Woo et al. 2023): each channel by its share of the whole picture's energy."""

  def __init__(self, width: int):
    super().__init__()
    self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))
    self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """[B,C,h,w] -> the same."""
    energy = x.square().sum((2, 3), keepdim=True).sqrt()
    share = energy / (energy.mean(1, keepdim=True) + 1e-6)
    return x + self.gamma * x * share + self.beta


class Modulation(nn.Module):
  """Features times what a pyramid of their own channels says: the first quarter as it is, the others ever coarser."""

  def __init__(self, width: int):
    super().__init__()
    share = width // _LEVELS
    self.mfr = nn.ModuleList(
      nn.Conv2d(share, share, 3, padding=1, groups=share, bias=False) for _ in range(_LEVELS)
    )
    self.aggr = nn.Conv2d(width, width, 1, bias=False)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """[B,C,h,w] -> the same."""
    height, width = x.shape[2:]
    levels = []
    for level, (part, convolution) in enumerate(zip(x.chunk(_LEVELS, 1), self.mfr, strict=True)):
      if level:
        coarse = functional.adaptive_max_pool2d(part, (height >> level + 1, width >> level + 1))
        part = functional.interpolate(convolution(coarse), (height, width))
      else:
        part = convolution(part)
      levels.append(part)
    return functional.gelu(self.aggr(torch.cat(levels, 1))) * x


class Mixer(nn.Module):
  """A 3x3 convolution to more channels and a 1x1 convolution back."""

  def __init__(self, width: int, hidden: int):
    super().__init__()
    self.ccm = nn.Sequential(
      nn.Conv2d(width, hidden, 3, padding=1, bias=False), nn.GELU(), nn.Conv2d(hidden, width, 1, bias=False)
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """[B,C,h,w] -> the same."""
    return self.ccm(x)


class Block(nn.Module):
  """Modulation and mixing, each added to what it is given."""

  def __init__(self, width: int, hidden: int):
    super().__init__()
    self.safm = Modulation(width)
    self.ccm = Mixer(width, hidden)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """[B,C,h,w] -> the same."""
    x = x + self.safm(x)
    return x + self.ccm(x)


class SAFMN(nn.Module):
  """[B,3,h,w] in [0, 1] -> [B,3,scale h,scale w]; sides of at least 16 pixels."""

  def __init__(self, width: int, hidden: int, num_blocks: int, scale: int):
    super().__init__()
    self.scale = scale
    self.to_feat = nn.Conv2d(3, width, 3, padding=1)
    self.norm = ResponseNorm(width)
    self.feats = nn.Sequential(*(Block(width, hidden) for _ in range(num_blocks)))
    self.to_img = nn.Sequential(nn.Conv2d(width, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))

  def forward(self, y: torch.Tensor) -> torch.Tensor:
    """See the class."""
    enlarged = functional.interpolate(y, scale_factor=self.scale, mode="bilinear")
    return enlarged + self.to_img(self.feats(self.norm(self.to_feat(y))))


class SAFMNOfNTIRE2023(Architecture):
  """How spandrel tells it apart and builds it."""

  def __init__(self):
    names = ("norm.gamma", "to_feat.weight", "feats.0.safm.aggr.weight", "feats.0.ccm.ccm.0.weight", "to_img.0.weight")
    super().__init__(id="SAFMN-NTIRE2023", name="SAFMN (NTIRE 2023)", detect=KeyCondition.has_all(*names))

  def load(self, state_dict: dict[str, torch.Tensor]) -> ImageModelDescriptor:
    """The network of a state dict, widths and depth read off it."""
    hidden, width, *_ = state_dict["feats.0.ccm.ccm.0.weight"].shape
    scale = math.isqrt(state_dict["to_img.0.weight"].shape[0] // 3)
    num_blocks = get_seq_len(state_dict, "feats")
    return ImageModelDescriptor(
      SAFMN(width, hidden, num_blocks, scale),
      state_dict,
      architecture=self,
      purpose="SR",
      tags=[f"{width}dim", f"{num_blocks}nb"],
      supports_half=False,
      supports_bfloat16=True,
      scale=scale,
      input_channels=3,
      output_channels=3,
      size_requirements=SizeRequirements(minimum=_COARSEST),
    )
