"""A restorer as the audit sees it: a function of a measurement and, if it is stochastic, of noise."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.errors import UserError
from prt_jax.programs import is_eager


@dataclasses.dataclass(frozen=True, eq=False)
class Restorer:
  """Attributes:
  name: for reports.
  restore: (y [B,h,w,3], z) -> x [B,H,W,3], one draw of z; RGB in [0, 1], x not clipped.
  draw_noise: (keys [B], measurement shape (h,w,3), S) -> z with leaves [S, B, ...]; None: deterministic.
  multiple: h and w must be multiples of it.
  degrade: x -> y, the degradation without its noise that the restorer was made for; None: unknown.
  image_size: side of the square images that it was made for; 0 = any size.
  pixel_range: what it took and returned before it was made one of [0, 1] (ranges.in_range); for reports.
  """

  name: str
  restore: Callable[[jax.Array, Any], jax.Array]
  draw_noise: Callable[[jax.Array, tuple[int, ...], int], Any] | None = None
  multiple: int = 1
  degrade: Callable[[jax.Array], jax.Array] | None = None
  image_size: int = 0
  pixel_range: str = "0..1"

  @property
  def stochastic(self) -> bool:
    """Whether two draws of z differ."""
    return self.draw_noise is not None

  @property
  def eager(self) -> bool:
    """Whether it must not be traced (programs.is_eager)."""
    return is_eager(self.restore)

  def noise(self, keys: jax.Array, measurement_shape: tuple[int, ...], num_seeds: int) -> Any:
    """S draws of Z, leaves [S, B, ...]; for a deterministic restorer one draw of nothing."""
    if self.draw_noise is None:
      return jnp.zeros((1, keys.shape[0]))
    return self.draw_noise(keys, measurement_shape, num_seeds)


class _WithoutNoise:
  """restore(y, z) of a function of y alone."""

  def __init__(self, function):
    self._function = function
    self.eager = is_eager(function)

  def __call__(self, y, z):
    del z
    return self._function(y)


def as_restorer(function: Any, *, name: str | None = None, draw_noise=None, degrade=None) -> Restorer:
  """Anything that restores, as a Restorer.

  Args:
    function: a Restorer, a function of y, a function of (y, z), a PyTorch module (on its own device; called
      module(y, z) where draw_noise is given, see TorchRestorer), or a descriptor of spandrel's, which has one. Further
      arguments keep their defaults.
    name, draw_noise, degrade: see Restorer. Noise goes to a function with draw_noise alone, as its second argument.

  Raises:
    UserError: no callable; a class; a function that needs z without draw_noise, or has no place for z with it.
  """
  if isinstance(function, Restorer):
    return function
  if inspect.isclass(function):
    raise UserError(f"{name or function.__name__} is a class: give an object of it, with its arguments and weights")
  if not callable(function):
    raise UserError(f"{function!r} is no restorer: give a function of y [B,h,w,3], or of (y, z)")
  name = name or getattr(function, "__name__", type(function).__name__)
  described = all(hasattr(function, attribute) for attribute in ("model", "input_channels", "output_channels"))
  if described and not hasattr(function, "forward"):
    # A descriptor of spandrel's: its own call has no gradient and clips, its module is what it describes.
    sizes = getattr(function, "size_requirements", None)
    restorer = as_restorer(function.model, name=name, draw_noise=draw_noise, degrade=degrade)
    return dataclasses.replace(restorer, multiple=getattr(sizes, "multiple_of", 1))
  is_module = type(function).__module__.startswith("torch.") or hasattr(function, "state_dict")
  needed, possible = _positional_arguments(function.forward if is_module else function)
  if possible == 0:
    raise UserError(f"{name} takes no argument: give what it returns, if that is a function of y [B,h,w,3]")
  if needed > (1 if draw_noise is None else 2):
    raise UserError(
      f"{name} needs {needed} arguments: where the second is noise, (y, z), give draw_noise as well, which says how z "
      "is drawn; bind others with functools.partial"
    )
  if draw_noise is not None and possible < 2:
    raise UserError(f"{name} takes y alone: leave draw_noise out, or let it take (y, z)")
  if is_module:
    from prt_jax.restorers.torch_adapter import TorchRestorer

    function = TorchRestorer(function, stochastic=draw_noise is not None)
  if draw_noise is None:
    function = _WithoutNoise(function)
  return Restorer(name=name, restore=function, draw_noise=draw_noise, degrade=degrade)


def per_channel(function: Any) -> Restorer:
  """A restorer of grey images, [B,h,w,1] -> [B,H,W,1], as one of RGB that restores R, G and B alike.

  Args:
    function: as in as_restorer, deterministic; a network of luma alone is one.
  """
  grey = as_restorer(function)

  def restore(y, z):
    batch, height, width, channels = y.shape
    x = grey.restore(jnp.moveaxis(y, -1, 1).reshape(batch * channels, height, width, 1), z)
    return jnp.moveaxis(x.reshape(batch, channels, *x.shape[1:3]), 1, -1)

  restore.eager = grey.eager
  return dataclasses.replace(grey, restore=restore)


def _positional_arguments(function) -> tuple[int, float]:
  """How many positional arguments a function needs, and how many it takes."""
  try:
    parameters = inspect.signature(function).parameters.values()
  except (TypeError, ValueError):  # a built-in
    return 1, math.inf
  positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
  takes_any = any(p.kind == p.VAR_POSITIONAL for p in parameters)
  return sum(p.default is p.empty for p in positional), math.inf if takes_any else len(positional)
