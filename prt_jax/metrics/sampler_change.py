"""How far a change of the measurement moves a stochastic restorer's distribution, and not each of its draws.

A sampler of the posterior is stable where p(x | y) and p(x | y + delta) are near in W_1 (paper A, App. D): draws may
change as they like among themselves.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist


def sampler_wasserstein(draws: ArrayLike, others: ArrayLike) -> np.ndarray:
  """Exact W_1 between as many equally weighted draws of two samplers, the distance of two images being their RMSE.

  Of two samples of one distribution it is not 0, unless both have the same noise: then it is at most coupled_change.

  Args:
    draws, others: [S, B, H, W, C], of one shape; S draws of each of B measurements.

  Returns:
    [B] float64, units of the pixels.

  Example:
    >>> black, white = np.zeros((4, 4, 3)), np.ones((4, 4, 3))
    >>> draws, others = np.stack([black, white])[:, None], np.stack([white, black])[:, None]
    >>> print(sampler_wasserstein(draws, others), coupled_change(draws, others))  # the same two pictures, exchanged
    [0.] [1.]
  """
  draws, others = (np.moveaxis(np.asarray(images, np.float64), 1, 0) for images in (draws, others))
  found = []
  for one, other in zip(draws, others, strict=True):
    costs = cdist(one.reshape(len(one), -1), other.reshape(len(other), -1)) / np.sqrt(one[0].size)
    found.append(costs[linear_sum_assignment(costs)].mean())
  return np.array(found)


def coupled_change(draws: ArrayLike, others: ArrayLike) -> jax.Array:
  """The RMSE between draws of the same noise, mean over draws: an upper bound of their W_1 (paper A, Eq. 7 for Eq. 5).

  Args:
    draws, others: as in sampler_wasserstein.

  Returns:
    [B] float32.

  Example:
    >>> print(coupled_change(jnp.zeros((2, 1, 4, 4, 3)), jnp.full((2, 1, 4, 4, 3), 0.5)))
    [0.5]
  """
  squares = jnp.square(jnp.asarray(draws) - jnp.asarray(others))
  return jnp.mean(jnp.sqrt(jnp.mean(squares, range(2, squares.ndim))), 0)
