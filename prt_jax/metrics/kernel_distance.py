"""Kernel distances between sets of features: squared maximum mean discrepancies (Gretton et al. 2012).

KID (Binkowski et al. 2018) in the features of the FID InceptionV3, CMMD (Jayasumana et al. 2024) in those of CLIP;
elsewhere call them by the features' name. Unlike a Frechet distance they assume no Gaussians.
"""

import numpy as np
from jax.typing import ArrayLike

from prt_jax.errors import UserError

BLOCK = 1000  # features that are compared at a time, as KID has it
SIGMA = 10.0  # CMMD's bandwidth


def kernel_inception_distance(
  features: ArrayLike, reference: ArrayLike, *, block: int = BLOCK
) -> tuple[float, float | None]:
  """The unbiased estimate of the squared discrepancy for the kernel (a b / D + 1)^3, which may be below 0.

  A mean over disjoint blocks, in the order that the features have (Binkowski et al. draw their blocks with
  replacement): linear in N, the same in every run, and unbiased, so that values of several N can be compared.

  Args:
    features, reference: [N, D] and [M, D]; rows in no order.
    block: features of one set in a block, at most; at least 2.

  Returns:
    (the mean, its standard error over the blocks; None for a single one).

  Raises:
    UserError: dimensions that do not go together, or fewer than two features.
  """
  a, b = _checked(features, reference)
  count = -(-min(len(a), len(b)) // block)
  values = [_unbiased(*parts) for parts in zip(np.array_split(a, count), np.array_split(b, count), strict=True)]
  error = float(np.std(values, ddof=1) / count**0.5) if count > 1 else None
  return float(np.mean(values)), error


def gaussian_discrepancy(
  features: ArrayLike, reference: ArrayLike, *, sigma: float = SIGMA, block: int = BLOCK
) -> float:
  """1000 times the squared discrepancy for the kernel exp(-|a - b|^2 / (2 sigma^2)), as CMMD's authors compute it.

  Their estimate counts each feature with itself: at least 0, and 0 for equal sets. CLIP's embeddings have norm 1.

  Args:
    features, reference: [N, D] and [M, D].
    sigma: the bandwidth.
    block: rows that are compared at a time, which changes no value.
  """
  a, b = _checked(features, reference)

  def mean_kernel(a, b):
    total, squares = 0.0, np.sum(b**2, 1)
    for first in range(0, len(a), block):
      part = a[first : first + block]
      distances = np.sum(part**2, 1)[:, None] + squares - 2 * part @ b.T
      total += np.exp(-np.maximum(distances, 0) / (2 * sigma**2)).sum()
    return total / (len(a) * len(b))

  return 1000 * max(float(mean_kernel(a, a) + mean_kernel(b, b) - 2 * mean_kernel(a, b)), 0.0)


def _unbiased(a, b):
  def kernel(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 3

  def within(a):
    values = kernel(a, a)
    return (values.sum() - np.trace(values)) / (len(a) * (len(a) - 1))

  return within(a) + within(b) - 2 * kernel(a, b).mean()


def _checked(features, reference):
  a, b = (np.asarray(each, np.float64) for each in (features, reference))
  if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
    raise UserError(f"a kernel distance compares two features [N, D] or more with others, got {a.shape} and {b.shape}")
  return a, b
