"""What --degradation can name where the restorer brings none: bicubic, a kind of the registry, a chain, a function."""

import ast
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.config import base
from prt_jax.data.image_pairs import bicubic_measure
from prt_jax.degradations import DEGRADATIONS, Degradation, make_degradation
from prt_jax.degradations.bicubic import bicubic_downsample, matlab_downsample, reduction_norm
from prt_jax.degradations.chain import LINKS, is_chain, reduction
from prt_jax.degradations.degradation import add_noise
from prt_jax.degradations.registry import arguments_of
from prt_jax.errors import UserError
from prt_jax.importing import import_function
from prt_jax.io.pictures import eight_bits
from prt_jax.randomness import Stream
from prt_jax.restorers.restorer import evaluation_keys

# --degradation=NAME -> its reduction by --scale; the measurements are rounded to 8 bits, as the files are of which
# published numbers come.
BICUBICS = {"bicubic": bicubic_downsample, "bicubic_matlab": matlab_downsample}


class Measuring(NamedTuple):
  """How originals become measurements.

  Attributes:
    measure: (an original [H,W,3], its number in the folder) -> y [h,w,3], with its noise; None: the images are
      measurements.
    degrade: x [B,H,W,3] -> y without noise, for consistency; None: not known.
    scale: by how much x is larger than y along both sides; 1 where it is not.
    noise_std: of the noise that y ends with, pixels in [0, 1].
    identity: what tells it from other ways; "" = not known.
    norm: degrade's largest singular value; None: it is not linear, or not known to be.
  """

  measure: Callable[[np.ndarray, int], np.ndarray] | None
  degrade: Callable[[jax.Array], jax.Array] | None
  scale: int
  noise_std: float
  identity: str
  norm: float | None = None


def image_kinds() -> list[str]:
  """The kinds of DEGRADATIONS that measure images."""
  return [kind for kind in DEGRADATIONS if "image_size" in arguments_of(kind)]


def named_measuring(name: str, scale: int, noise_std: float | None, seed: int = 0) -> Measuring:
  """What --degradation=NAME means, --scale and --noise_std (None: not given) where the name does not say otherwise.

  seed: of the measurements' noise, which depends on it and on an image's number alone.

  Raises:
    UserError: an unknown name, a field that the degradation does not take, or a value that cannot work.
  """
  noise_std = noise_std or 0.0
  if name in BICUBICS:
    degrade = functools.partial(BICUBICS[name], factor=scale)
    clean = bicubic_measure(scale) if name == "bicubic" else _rounded(degrade)
    norm = reduction_norm(BICUBICS[name], scale)
    return Measuring(_with_noise(clean, noise_std, seed), degrade, scale, noise_std, name, norm)
  if name == "none":
    if scale == 1:
      return Measuring(None, None, 1, noise_std, name)
    degrade, norm = functools.partial(bicubic_downsample, factor=scale), reduction_norm(bicubic_downsample, scale)
    return Measuring(None, degrade, 1, noise_std, name, norm)
  kind, *settings = name.split(",")
  kind = "super_resolution" if kind == "block_average" else kind
  if is_chain(name):
    if noise_std:
      raise UserError(f"--noise_std={noise_std}: a chain has its noise in itself: end it with +noise:{noise_std}")
    # A size that every link takes; a link reads the images' own.
    degradation = make_degradation({"kind": name, "noise_std": 0.0}, 32 * reduction(name))
    return _measuring(degradation, seed, repr(degradation))
  if kind in image_kinds() or (":" in kind and inspect.isclass(import_function(kind))):
    return _measuring(_degradation(kind, settings, scale, noise_std), seed, "" if ":" in kind else name)
  if ":" in kind and not settings:
    degrade = import_function(kind)
    # A function may be another one next time.
    return Measuring(_with_noise(_one_image(degrade), noise_std, seed), degrade, scale, noise_std, "")
  if name == "own":
    raise UserError("--degradation=own is that of a training run: with another --restorer, name the degradation")
  raise UserError(
    f"--degradation={name} is none of {', '.join(BICUBICS)}, block_average, none, {', '.join(image_kinds())}, no chain "
    f"(NAME:VALUE+NAME:VALUE of {', '.join(LINKS)}), and no package.module:NAME"
  )


def _measuring(degradation: Degradation, seed: int, identity: str) -> Measuring:
  def measure(x, number):
    return np.asarray(degradation.degrade(jnp.asarray(x[None]), _keys(seed, number)), np.float32)[0]

  norm = getattr(degradation, "norm", None)
  return Measuring(measure, degradation.clean, _scale_of(degradation), degradation.noise_std, identity, norm)


def _with_noise(clean, noise_std, seed):
  """(x, number) -> y of a function of x and its number that adds no noise."""
  return lambda x, number: np.asarray(add_noise(jnp.asarray(clean(x, number)[None]), noise_std, _keys(seed, number)))[0]


def _keys(seed, number):
  """Those by which an evaluation measures the image of that number."""
  return evaluation_keys(Stream.EVALUATION_MEASUREMENT, 0, jnp.array([number]), seed)


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
  """degrade of a batch as a function of one image and its number."""
  return lambda x, number: np.asarray(degrade(jnp.asarray(x[None])), np.float32)[0]


def _rounded(degrade):
  """As a file of 8 bits holds it."""
  return lambda x, number: np.float32(eight_bits(_one_image(degrade)(x, number))) / 255
