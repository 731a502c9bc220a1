"""A restorer as everything here sees it: a function of weights, a measurement and, if it is stochastic, of noise."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.errors import UserError
from prt_jax.programs import is_eager
from prt_jax.randomness import Stream, example_keys

FLOAT32 = float(np.finfo(np.float32).eps)


@dataclasses.dataclass(frozen=True, eq=False)
class Restorer:
  """Evaluation, audit, exploration, restoring and experiments take one; load_run(workdir).restorer() gives a run's.

  Attributes:
    name: for reports.
    apply: (params, y [B,h,w,3], z) -> x [B,H,W,3], one draw of z; RGB in [0, 1], x not clipped.
    params: the weights, a pytree of arrays.
    draw_noise: (keys [B], measurement shape (h,w,3), S) -> z with leaves [S, B, ...]; None: deterministic.
    degradation: has clean(x) -> y, the degradation without its noise; that of a run has degrade(x, keys) as well,
      measurements with their noise. None: unknown.
    traceable: whether JAX may trace apply; False: PyTorch computes it, say.
    apply_seeds: (params, y, z with leaves [S, ...]) -> [S,B,H,W,3], where a net has its own way through all draws at
      once; None: apply under vmap.
    multiple: h and w must be multiples of it.
    min_side: and no smaller than it.
    square: and equal; any_size.any_size lifts these three.
    scale: by how much x is larger than y along both sides; 0 = not known before it is called.
    image_size: side of the square images that it was made for; 0 = any size.
    pixel_range: what it took and returned before it was made one of [0, 1] (ranges.in_range); for reports.
    training_attack: of a run: {"eps", "num_steps", "learning_rate"} of the search that it was, or would be, trained
      against; measured as well, and beside it the longer search of an evaluation, {"strong_num_examples",
      "strong_num_steps", "strong_num_restarts"}. None: there is none.
    unit: relative distance of neighbouring numbers of the type that it computes in: 2^-23 for float32.
    identity: what tells it from other restorers, its weights apart; "" = not known, so that nothing measured of it is
      kept for another time.

  Example:
    >>> restorer = Restorer("twice", lambda params, y, z: params * y, params=jnp.float32(2))
    >>> print(restorer.restore(jnp.ones((1, 1, 1, 3)), None).ravel(), restorer.stochastic)
    [2. 2. 2.] False
  """

  name: str
  apply: Callable[[Any, jax.Array, Any], jax.Array]
  params: Any = ()
  draw_noise: Callable[[jax.Array, tuple[int, ...], int], Any] | None = None
  degradation: Any = None
  traceable: bool = True
  apply_seeds: Callable[[Any, jax.Array, Any], jax.Array] | None = None
  multiple: int = 1
  min_side: int = 1
  square: bool = False
  scale: int = 0
  image_size: int = 0
  pixel_range: str = "0..1"
  training_attack: dict | None = None
  unit: float = FLOAT32
  identity: str = ""

  def __post_init__(self):
    _, possible = _positional_arguments(self.apply)
    if possible < 3:
      raise UserError(
        f"{self.name}: apply takes (params, y, z); prt_jax.restorers.as_restorer makes a Restorer of a function of y, "
        "or of (y, z)"
      )

  @property
  def restore(self) -> jax.tree_util.Partial:
    """(y, z) -> x for one draw, the form that attacks take."""
    return jax.tree_util.Partial(self.apply if self.traceable else _Untraced(self.apply, self.unit), self.params)

  @property
  def stochastic(self) -> bool:
    """Whether two draws of z differ."""
    return self.draw_noise is not None

  @property
  def degrade(self) -> Callable[[jax.Array], jax.Array] | None:
    """x -> y, the degradation without its noise; None: unknown."""
    return self.degradation and self.degradation.clean

  def measure(self, x: jax.Array, examples: jax.Array | np.ndarray, seed: int = 0) -> jax.Array:
    """Measurements of originals x [B,H,W,3] by its own degradation, the noise of each a function of (seed, example).

    examples: [B], as in draws.
    """
    return self.degradation.degrade(x, evaluation_keys(Stream.EVALUATION_MEASUREMENT, 0, examples, seed))

  def noise(self, keys: jax.Array, measurement_shape: tuple[int, ...], num_seeds: int) -> Any:
    """S draws of Z, leaves [S, B, ...]; for a deterministic restorer one draw of nothing."""
    if self.draw_noise is None:
      return jnp.zeros((1, keys.shape[0]))
    return self.draw_noise(keys, measurement_shape, num_seeds)

  def draws(
    self, examples: jax.Array | np.ndarray, numbers: Sequence[int], measurement_shape: tuple[int, ...], seed: int = 0
  ) -> Any:
    """The numbered draws of Z of each example, leaves [S, B, ...]: a function of (seed, number, example) alone.

    examples: [B], which images of a data set or a folder they are. A deterministic restorer has one draw of nothing.
    """
    if self.draw_noise is None:
      return jnp.zeros((1, len(examples)))
    # By the Python integer: a restorer's noise may be drawn by code that cannot be traced.
    draws = [
      self.draw_noise(evaluation_keys(Stream.EVALUATION_NOISE, number, examples, seed), measurement_shape, 1)
      for number in numbers
    ]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *draws)


def evaluation_keys(stream: Stream, number: int, examples: jax.Array | np.ndarray, seed: int = 0) -> jax.Array:
  """Typed keys [B] of all that measures: number tells draws, or attack starts, of one stream apart.

  They are the same in every run, so that two restorers meet the same measurements, noise and starts.
  """
  return _keys(seed, number, int(stream), jnp.asarray(examples))


@functools.partial(jax.jit, static_argnums=2)
def _keys(seed, number, stream, examples):
  return example_keys(jax.random.key(seed), number, Stream(stream), examples)


@dataclasses.dataclass(frozen=True)
class FunctionDegradation:
  """A function x -> y as a degradation.

  Attributes:
    clean: the function.
    norm: its largest singular value, where it is linear and that is known.
  """

  clean: Callable[[jax.Array], jax.Array]
  norm: float | None = None


class _Untraced:
  """apply(params, y, z), marked as one that must not be traced."""

  eager = True

  def __init__(self, apply, unit):
    self._apply, self.unit = apply, unit

  def __call__(self, params, y, z):
    return self._apply(params, y, z)


def _without_params(function: Callable, takes_noise: bool) -> Callable[[Any, jax.Array, Any], jax.Array]:
  """apply(params, y, z) of a function of y, or of (y, z); of one that computes in half precision in float32."""

  def apply(params, y, z):
    del params
    x = function(y, z) if takes_noise else function(y)
    # An attack's gradients would overflow in 16 bits.
    return x.astype(jnp.float32) if getattr(x, "dtype", None) in (jnp.float16, jnp.bfloat16) else x

  return apply


def as_restorer(
  function: Any, *, name: str | None = None, draw_noise: Callable | None = None, degrade: Callable | None = None
) -> Restorer:
  """Anything that restores, as a Restorer.

  Args:
    function: a Restorer, a function of y, a function of (y, z), a PyTorch module (on its own device; called
      module(y, z) where draw_noise is given, see TorchRestorer) or a functools.partial of one, or a descriptor of
      spandrel's. Further arguments keep their defaults.
    name, draw_noise: see Restorer. degrade: x -> y without noise, or None.
      Noise goes to a function with draw_noise alone, as its second argument.

  Raises:
    UserError: no callable; a class; a function that needs z without draw_noise, or has no place for z with it; a
      draw_noise of other arguments.

  Example:
    >>> restorer = as_restorer(lambda y: y.repeat(2, 1).repeat(2, 2), name="nearest")
    >>> print(restorer.restore(jnp.zeros((1, 4, 4, 3)), None).shape)
    (1, 8, 8, 3)
  """
  if isinstance(function, Restorer):
    return function
  if inspect.isclass(function):
    raise UserError(f"{name or function.__name__} is a class: give an object of it, with its arguments and weights")
  if not callable(function):
    raise UserError(f"{function!r} is no restorer: give a function of y [B,h,w,3], or of (y, z)")
  described = all(hasattr(function, attribute) for attribute in ("model", "input_channels", "output_channels"))
  if described and not hasattr(function, "forward"):
    from prt_jax.restorers.any_size import any_size
    from prt_jax.restorers.spandrel_networks import from_descriptor

    restorer = any_size(from_descriptor(function))
    own = {"name": name, "degradation": degrade and FunctionDegradation(degrade)}
    return dataclasses.replace(restorer, **{field: value for field, value in own.items() if value})
  name = str(name or getattr(function, "__name__", type(function).__name__))
  inner: Any = function.func if isinstance(function, functools.partial) else function
  is_module = type(inner).__module__.startswith("torch.") or hasattr(inner, "state_dict")
  needed, possible = _positional_arguments(inner.forward if inner is function and is_module else function)
  if possible == 0:
    raise UserError(f"{name} takes no argument: give what it returns, if that is a function of y [B,h,w,3]")
  if needed > (1 if draw_noise is None else 2):
    raise UserError(
      f"{name} needs {needed} arguments: where the second is noise, (y, z), give draw_noise as well, which says how z "
      "is drawn; bind others with functools.partial"
    )
  if draw_noise is not None and possible < 2:
    raise UserError(f"{name} takes y alone: leave draw_noise out, or let it take (y, z)")
  if draw_noise is not None and not _fits(draw_noise, 3):
    raise UserError(
      "draw_noise must take three arguments, (keys [B], the shape (h,w,3) of a measurement, S), and give z with leaves "
      "[S, B, ...]"
    )
  if is_module:
    from prt_jax.restorers.torch_adapter import TorchRestorer

    function = TorchRestorer(function, stochastic=draw_noise is not None)
  return Restorer(
    name=name,
    apply=_without_params(function, draw_noise is not None),
    draw_noise=draw_noise,
    degradation=degrade and FunctionDegradation(degrade),
    traceable=not is_eager(function),
    unit=getattr(function, "unit", FLOAT32),
  )


def per_channel(function: Any) -> Restorer:
  """A restorer of grey images, [B,h,w,1] -> [B,H,W,1], as one of RGB that restores R, G and B alike.

  Args:
    function: as in as_restorer, deterministic; a network of luma alone is one.

  Example:
    >>> restorer = per_channel(lambda grey: 1 - grey)
    >>> print(restorer.restore(jnp.array([0.0, 0.25, 1.0]).reshape(1, 1, 1, 3), None).ravel())
    [1.   0.75 0.  ]
  """
  grey = as_restorer(function)

  def apply(params, y, z):
    batch, height, width, channels = y.shape
    x = grey.apply(params, jnp.moveaxis(y, -1, 1).reshape(batch * channels, height, width, 1), z)
    return jnp.moveaxis(x.reshape(batch, channels, *x.shape[1:3]), 1, -1)

  return dataclasses.replace(grey, apply=apply)


def _fits(function, count) -> bool:
  """Whether a function can be called with so many positional arguments."""
  needed, possible = _positional_arguments(function)
  return needed <= count <= possible


def _positional_arguments(function) -> tuple[int, float]:
  """How many positional arguments a function needs, and how many it takes."""
  try:
    parameters = inspect.signature(function).parameters.values()
  except (TypeError, ValueError):  # a built-in
    return 1, math.inf
  positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
  takes_any = any(p.kind == p.VAR_POSITIONAL for p in parameters)
  return sum(p.default is p.empty for p in positional), math.inf if takes_any else len(positional)
