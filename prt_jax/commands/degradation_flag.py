"""What --degradation can name where the restorer brings none: bicubic, a kind of the registry, a function."""

import ast
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from prt_jax.config import base
from prt_jax.data.image_pairs import bicubic_measure, to_float
from prt_jax.degradations import DEGRADATIONS, Degradation, make_degradation
from prt_jax.degradations.registry import arguments_of
from prt_jax.errors import UserError
from prt_jax.importing import import_function
from prt_jax.restorers.bicubic import bicubic_downsample, bicubic_norm


class Measuring(NamedTuple):
  """How originals become measurements.

  Attributes:
    measure: an RGB image -> y [h,w,3] without noise; None: the images are measurements.
    degrade: the same, for consistency, as a function of a batch x [B,H,W,3].
    scale: by how much x is larger than y along both sides; 1 where it is not.
    noise_std: of the noise to be added, pixels in [0, 1].
    norm: degrade's largest singular value; None: it is not linear, or not known to be.
  """

  measure: Callable[[Image.Image], np.ndarray] | None
  degrade: Callable[[jax.Array], jax.Array]
  scale: int
  noise_std: float
  norm: float | None = None


def image_kinds() -> list[str]:
  """The kinds of DEGRADATIONS that measure images."""
  return [kind for kind in DEGRADATIONS if "image_size" in arguments_of(kind)]


def named_measuring(name: str, scale: int, noise_std: float | None) -> Measuring:
  """What --degradation=NAME means, --scale and --noise_std (None: not given) where the name does not say otherwise.

  Raises:
    UserError: an unknown name, a field that the degradation does not take, or a value that cannot work.
  """
  noise_std = noise_std or 0.0
  if name in ("bicubic", "none"):
    degrade = functools.partial(bicubic_downsample, factor=scale)
    measure = bicubic_measure(scale) if name == "bicubic" else None
    return Measuring(measure, degrade, scale if measure else 1, noise_std, bicubic_norm(scale))
  kind, *settings = name.split(",")
  kind = "super_resolution" if kind == "block_average" else kind
  if kind in image_kinds() or (":" in kind and inspect.isclass(import_function(kind))):
    degradation = _degradation(kind, settings, scale, noise_std)
    measure, norm = _one_image(degradation.clean), getattr(degradation, "norm", None)
    return Measuring(measure, degradation.clean, _scale_of(degradation), degradation.noise_std, norm)
  if ":" in kind and not settings:
    degrade = import_function(kind)
    return Measuring(_one_image(degrade), degrade, scale, noise_std)
  if name == "own":
    raise UserError("--degradation=own is that of a training run: with another --restorer, name the degradation")
  raise UserError(
    f"--degradation={name} is none of bicubic, block_average, none, {', '.join(image_kinds())}, and no "
    "package.module:NAME"
  )


def _degradation(kind: str, settings: list[str], scale: int, noise_std: float) -> Degradation:
  """The degradation KIND,FIELD=VALUE,...; its clean takes images of any size."""
  fields = base().degradation.to_dict() | {"kind": kind, "factor": scale, "noise_std": noise_std}
  known = [field for field in arguments_of(kind) if field not in ("image_size", "consistency")]
  for setting in settings:
    field, _, text = setting.partition("=")
    if field not in known:
      raise UserError(f"--degradation={kind},{setting}: the fields of {kind} are {', '.join(known)}, as {known[0]}=1")
    fields[field] = _value(f"--degradation={kind},{setting}", text, fields.get(field))
  return make_degradation(fields, 32 * fields["factor"])  # a size that every kind takes; clean reads the images' own


def _value(where: str, text: str, default: Any) -> Any:
  """A number where text is one, otherwise text itself. UserError where the default is of another type."""
  try:
    value = ast.literal_eval(text)
  except (SyntaxError, ValueError):
    value = text
  if isinstance(default, int | float) and not isinstance(value, int | type(default)):
    raise UserError(f"{where}: give {'a whole number' if isinstance(default, int) else 'a number'}")
  return value


def _scale_of(degradation: Degradation) -> int:
  rows, columns, *_ = degradation.measurement_shape
  return degradation.image_shape[0] // rows if rows == columns else 1


def _one_image(degrade):
  """degrade of a batch as a function of one RGB image."""
  return lambda image: np.asarray(degrade(jnp.asarray(to_float(image)[None])), np.float32)[0]
