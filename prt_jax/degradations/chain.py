"""Degradations one after the other: blur:1.2+bicubic:4+noise:0.02+jpeg:70.

Noise comes where it stands. A chain has a projection where all of its links are linear and noise comes last: an exact
one, by conjugate gradients, unless a blur is among the links, whose damping it then has. What rounds or compresses has
none.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from prt_jax.degradations.bicubic import Bicubic, MatlabBicubic
from prt_jax.degradations.degradation import Degradation, ImageDegradation
from prt_jax.degradations.denoising import Denoising
from prt_jax.degradations.gaussian_blur import GaussianBlur
from prt_jax.degradations.jpeg import JPEG
from prt_jax.degradations.kernel_blur import KernelBlur
from prt_jax.degradations.linear import LinearDegradation
from prt_jax.degradations.rounding import Rounding
from prt_jax.degradations.super_resolution import SuperResolution
from prt_jax.errors import UserError


class Link(NamedTuple):
  """One link NAME:VALUE of a chain.

  Attributes:
    constructor: of the degradation; takes image_size too, and noise_std if it is not the value.
    field: which argument of it VALUE is.
    type: of VALUE: int, float or str.
  """

  constructor: Callable[..., Degradation]
  field: str
  type: type


LINKS: dict[str, Link] = {
  "blur": Link(GaussianBlur, "blur_sigma", float),
  "motion": Link(KernelBlur, "kernel", str),
  "bicubic": Link(Bicubic, "factor", int),
  "bicubic_matlab": Link(MatlabBicubic, "factor", int),
  "block_average": Link(SuperResolution, "factor", int),
  "noise": Link(Denoising, "noise_std", float),
  "jpeg": Link(JPEG, "quality", int),
  "round": Link(Rounding, "bits", int),
}


def is_chain(text: str) -> bool:
  """Whether a kind of degradation is written as a chain, of one link perhaps."""
  name, colon, _ = text.partition(":")
  return "+" in text or bool(colon and name in LINKS)


def reduction(text: str) -> int:
  """By how much a chain makes images smaller along both sides; names and values are checked by parse alone."""
  parts = (part.partition(":")[::2] for part in text.split("+"))
  reductions = {name for name, link in LINKS.items() if link.field == "factor"}
  return math.prod(int(value) for name, value in parts if name in reductions and value.isdecimal())


def parse(text: str, image_size: int) -> tuple[Degradation, ...]:
  """The links of NAME:VALUE+NAME:VALUE+..., each for the size that the one before it leaves.

  Raises:
    UserError: an unknown name, a value that is none for it, a size that cannot be reduced so.
  """
  links, size = [], image_size
  for part in text.split("+"):
    name, _, value = part.partition(":")
    if name not in LINKS:
      raise UserError(f"{part!r} of {text!r} is no degradation: a chain has {', '.join(LINKS)}, each as NAME:VALUE")
    constructor, field, kind = LINKS[name]
    try:
      given = kind(value)
    except ValueError:
      given = None
    if not value or given is None or (kind is float and not math.isfinite(given)):
      what = {int: "a whole number", float: "a number", str: "a file"}[kind]
      raise UserError(f"{part!r} of {text!r}: {name} takes {what} ({field}), as {name}:VALUE")
    links.append(constructor(**{"noise_std": 0.0, field: given}, image_size=size))
    size = links[-1].measurement_shape[0]
  return tuple(links)


@dataclasses.dataclass(frozen=True)
class Chain(ImageDegradation):
  """Links that are not all linear, or have noise before the last of them: there is no projection.

  Attributes:
    links: degradations of images, each of what the one before it leaves.
    image_size: side of the square image, pixels.

  Example:
    >>> blur_and_jpeg = Chain(parse("blur:1.2+jpeg:70", 16), 16)
    >>> print(blur_and_jpeg.clean(jnp.zeros((1, 16, 16, 3))).shape)
    (1, 16, 16, 3)
  """

  links: tuple[Degradation, ...]
  image_size: int

  @property
  def title(self) -> str:
    """The task in words: what each link is to be undone."""
    return " after ".join(link.title for link in reversed(self.links))

  @property
  def noise_std(self) -> float:
    """Of the noise that y ends with: 0 where something follows the noise, or where there is none."""
    return self.links[-1].noise_std

  def clean(self, x: jax.Array) -> jax.Array:
    """All links without their noise."""
    return functools.reduce(lambda x, link: link.clean(x), self.links, x)

  def degrade(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """All links, each with noise of its own."""
    for number, link in enumerate(self.links):
      x = link.degrade(x, None if key is None else _fold_in(key, number))
    return x

  def network_input(self, y: jax.Array) -> jax.Array:
    """y as large as x: each link's own way back."""
    return functools.reduce(lambda y, link: link.network_input(y), reversed(self.links), y)


@dataclasses.dataclass(frozen=True)
class LinearChain(Chain, LinearDegradation):
  """Linear links, noise at the end alone.

  Attributes:
    consistency: 'exact' or 'statistical', see degradation.py.
  """

  consistency: str = "exact"

  @property
  def damping(self) -> float:
    """That of the link with the largest: 0 without a blur."""
    return max(getattr(link, "damping", 0.0) for link in self.links)

  num_iterations = 100  # with the damping of a blur, condition numbers reach 1000

  def pseudo_inverse(self, residual: jax.Array) -> jax.Array:
    """A link's own closed form where it is the only one beside the noise."""
    linear = [link for link in self.links if not isinstance(link, Denoising)]
    if len(linear) == 1:
      only: Any = linear[0]
      return only.pseudo_inverse(residual)
    return super().pseudo_inverse(residual)


def constructor_of_chain(text: str) -> Callable[..., Degradation]:
  """(image_size) -> the chain; (image_size, consistency) where it is linear."""

  def chain(image_size: int) -> Chain:
    return Chain(parse(text, image_size), image_size)

  def linear_chain(image_size: int, consistency: str = "exact") -> LinearChain:
    return LinearChain(parse(text, image_size), image_size, consistency)

  names = (part.partition(":")[0] for part in text.split("+"))
  *constructors, last = (LINKS[name].constructor if name in LINKS else None for name in names)
  if last is not Denoising:
    constructors.append(last)
  is_linear = constructors and all(isinstance(c, type) and issubclass(c, LinearDegradation) for c in constructors)
  return linear_chain if is_linear else chain


def _fold_in(key, number):
  """One key, or one an example."""
  return jax.random.fold_in(key, number) if key.ndim == 0 else jax.vmap(lambda k: jax.random.fold_in(k, number))(key)
