"""A restorer as the audit sees it: a function of a measurement and, if it is stochastic, of noise."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True, eq=False)
class Restorer:
  """Attributes:
  name: for reports.
  restore: (y [B,h,w,3], z) -> x [B,H,W,3], one draw of z; RGB in [0, 1], x not clipped. Where it is a
    jax.tree_util.Partial, its weights enter compiled programs as arguments, not as constants.
  scale: magnification, H = scale h; None where it is not known.
  draw_noise: (keys [B], measurement shape (h,w,3), S) -> z with leaves [S, B, ...]; None: deterministic.
  multiple: h and w must be multiples of it.
  """

  name: str
  restore: Callable[[jax.Array, Any], jax.Array]
  scale: int | None = None
  draw_noise: Callable[[jax.Array, tuple[int, ...], int], Any] | None = None
  multiple: int = 1

  @property
  def stochastic(self) -> bool:
    """Whether two draws of z differ."""
    return self.draw_noise is not None

  def noise(self, keys: jax.Array, measurement_shape: tuple[int, ...], num_seeds: int) -> Any:
    """S draws of Z, leaves [S, B, ...]; for a deterministic restorer a single draw of nothing."""
    if self.draw_noise is None:
      return jnp.zeros((1, keys.shape[0]))
    return self.draw_noise(keys, measurement_shape, num_seeds)
