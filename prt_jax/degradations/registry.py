"""Which degradations there are: a kind for each, and the degradation that a config describes."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from prt_jax.degradations.chain import LINKS, constructor_of_chain, is_chain
from prt_jax.degradations.degradation import Degradation
from prt_jax.degradations.denoising import Denoising
from prt_jax.degradations.first_coordinate import FirstCoordinate
from prt_jax.degradations.gaussian_blur import GaussianBlur
from prt_jax.degradations.inpainting import Inpainting
from prt_jax.degradations.jpeg import JPEG
from prt_jax.degradations.super_resolution import SuperResolution
from prt_jax.errors import UserError
from prt_jax.importing import import_function

# degradation.kind -> its constructor, whose arguments are fields of config.degradation and, for images, image_size.
DEGRADATIONS: dict[str, Callable[..., Degradation]] = {
  "super_resolution": SuperResolution,
  "inpainting": Inpainting,
  "gaussian_blur": GaussianBlur,
  "jpeg": JPEG,
  "denoising": Denoising,
  "first_coordinate": FirstCoordinate,
}

# Whatever the kind, protocols have these: evaluations that were finished when there was no other field stay so.
ALWAYS_HELD = ("kind", "factor", "noise_std", "consistency")


def make_degradation(degradation_config: Mapping[str, Any], image_size: int) -> Degradation:
  """The degradation a config describes.

  Args:
    degradation_config: has kind, noise_std and the fields that this kind takes (prt_jax/config.py).
    image_size: side of the square images, pixels.

  Raises:
    UserError: an unknown kind; a field that is missing, out of its range or of no meaning for this kind.

  Example:
    >>> degradation = make_degradation({"kind": "super_resolution", "factor": 4, "noise_std": 0.0}, image_size=8)
    >>> print(degradation.clean(jnp.ones((1, 8, 8, 3))).shape)
    (1, 2, 2, 3)
  """
  kind, noise_std = degradation_config["kind"], degradation_config["noise_std"]
  taken = arguments_of(kind)
  if noise_std < 0:
    raise UserError(f"degradation.noise_std={noise_std} is negative: use 0 for a noiseless measurement")
  consistency = degradation_config.get("consistency", "exact")
  if noise_std and "noise_std" not in taken:
    raise UserError(
      f"degradation.noise_std={noise_std}: {kind} has its noise in itself: end it with +noise:{noise_std}"
    )
  if consistency not in ("exact", "statistical"):
    raise UserError(f"degradation.consistency={consistency!r} is unknown: choose exact or statistical")
  if consistency == "statistical" and "consistency" not in taken:
    raise UserError(f"degradation.consistency='statistical' is not of every kind: {kind} has exact")
  given = {**degradation_config, "image_size": image_size}
  if missing := [name for name, default in taken.items() if default is inspect.Parameter.empty and name not in given]:
    raise UserError(f"degradation.kind={kind!r} needs degradation.{missing[0]}: set it in the config")
  return constructor_of(kind)(**{name: given[name] for name in taken if name in given})


def fields_of(degradation_config: Mapping[str, Any]) -> dict[str, Any]:
  """The fields that measurements depend on, as protocols hold them: without those of other kinds."""
  taken = {*ALWAYS_HELD, *arguments_of(degradation_config["kind"])}
  return {name: value for name, value in degradation_config.items() if name in taken}


def constructor_of(kind: str) -> Callable[..., Degradation]:
  """The constructor of a kind of DEGRADATIONS, a chain, or package.module:NAME; UserError where there is none."""
  if kind in DEGRADATIONS:
    return DEGRADATIONS[kind]
  if is_chain(kind):
    return constructor_of_chain(kind)
  if ":" in kind:
    return import_function(kind)
  raise UserError(
    f"degradation.kind={kind!r} is unknown: choose one of {', '.join(DEGRADATIONS)}, a chain "
    f"(NAME:VALUE+NAME:VALUE of {', '.join(LINKS)}), or package.module:NAME"
  )


def arguments_of(kind: str) -> dict[str, Any]:
  """The names and the defaults (inspect.Parameter.empty: none) of what a kind's constructor takes."""
  return {name: argument.default for name, argument in inspect.signature(constructor_of(kind)).parameters.items()}
