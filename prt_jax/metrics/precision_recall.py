"""Improved precision and recall of generative models, and density and coverage, exact and blocked.

The counts are those of float64 arithmetic, at the accelerator's float32 speed: a float32 pass
brackets each squared distance by its rounding error, and only the comparisons that the bracket
leaves open (a few neighbours a point, a few points in a thousand) are made again in float64.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from prt_jax.errors import UserError

_BLOCK = 4096  # points; a block of squared distances is 64 MiB
_FEW = 64  # points whose open comparisons are listed at once
_PAIR_VALUES = 1 << 22  # float64 numbers in a block of pairs, 32 MiB
_SPARE = 8  # neighbours kept beyond k, for distances that the bracket cannot tell apart
_TINY = 1e-30  # absolute part of the bracket, in scaled units: float32 squares may underflow


def precision_recall(real: ArrayLike, fake: ArrayLike, k: int = 3) -> tuple[float, float]:
  """Precision and recall of `fake` with respect to `real`, from k nearest neighbours.

  A set's manifold is the union of balls around its points; a ball's radius is the distance to
  the k-th nearest OTHER point of the set (the point itself is not counted among its neighbours;
  a duplicate of it is), and the ball is closed (distance <= radius). Precision is the share of
  fake points in the real manifold, recall the share of real points in the fake one (Eq. 1-2).
  Paper A: k = 3 in InceptionV3 features (Table 1), k = 5 on plain points (Sec. 4.2).

  Args:
    real, fake: [N, D] and [M, D] floats, N and M may differ; distances are those of the given
      numbers in float64.
    k: neighbours; less than both N and M.

  Returns:
    (precision, recall), floats in [0, 1]: multiples of 1 / M and 1 / N.

  Runs on JAX's default device. Memory beyond the arguments: two float32 copies of the larger
  set at most, and a few blocks of 64 MiB. Time: 2 D (N + M)^2 float32 operations, unless most
  points lie closer together than 1e-4 of the set's extent (then slower, still exact).

  Raises:
    UserError: k < 1 or k >= N or M; shapes that do not go together; values that are not finite.

  Example:
    >>> real = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> print(precision_recall(real, np.array([[0.5], [9.0], [9.25], [9.5]]), k=2))  # one of four; all of four
    (0.25, 1.0)
  """
  real, fake = _checked(real, fake, k, "precision_recall")
  precision = _share_inside(fake, real, k)
  recall = _share_inside(real, fake, k)
  return precision, recall


def density_coverage(real: ArrayLike, fake: ArrayLike, k: int = 5) -> tuple[float, float]:
  """Density and coverage of `fake` with respect to `real` (Naeem et al. 2020, Eq. 3-4), from k nearest neighbours.

  Both ask the manifold of `real` alone, whose balls are those of precision_recall: an outlier among the fake points has
  no ball of its own to be counted by. Density is the mean number of real balls around a fake point, over k; about 1 for
  two samples of one distribution, more where fakes crowd where reals do. Coverage is the share of real balls with a
  fake point inside.

  Args:
    real, fake, k: as in precision_recall.

  Returns:
    (density, coverage), floats: density >= 0, coverage in [0, 1], a multiple of 1 / N.

  Raises:
    UserError: as precision_recall.

  Example:
    >>> real = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> print(density_coverage(real, np.array([[0.5], [9.0]]), k=1))  # two balls, of two; two of four balls
    (1.0, 0.5)
  """
  real, fake = _checked(real, fake, k, "density_coverage")
  manifold = _Manifold(real)
  counts = manifold.members(fake, manifold.squared_radii(k))
  return float(counts.sum() / (k * len(fake))), float(np.mean(counts > 0))


def _checked(real, fake, k, name):
  """The two sets as points, checked; name: of the metric."""
  real, fake = _as_points(real, "real"), _as_points(fake, "fake")
  if real.shape[1] != fake.shape[1]:
    raise UserError(f"{name} compares features of one dimension, got {real.shape[1]} and {fake.shape[1]}")
  smaller = min(len(real), len(fake))
  if not 1 <= k < smaller:
    raise UserError(
      f"k={k} neighbours need more than k points in each set, got {len(real)} real and {len(fake)} fake: "
      f"{'raise k to at least 1' if k < 1 else 'raise eval.num_examples or lower k'}"
    )
  return real, fake


def _share_inside(queries, points, k):
  """Share of `queries` in the manifold of `points`."""
  manifold = _Manifold(points)
  return float(np.mean(manifold.contains(queries, manifold.squared_radii(k))))


class _Manifold:
  """Points with a float32 copy, centred and scaled, whose squared distances have a proven error.

  Distances do not change when the origin moves to the mean, but |a|^2 + |b|^2 - 2ab then
  cancels less. The scale is a power of two, so exact, and keeps squares far from overflow.
  With u = 2^-24, summing a dot product in any order errs by at most D u |a||b|, rounding the
  points to float32 by at most 2 u |a||b|; so the squared distance is off by at most
  `error` * (|a|^2 + |b|^2), where 64 pays for the remaining roundings and for accelerators
  that split float32 products.
  """

  def __init__(self, points):
    self.points = points
    self.centre = points.mean(axis=0, dtype=np.float64)
    starts = range(0, len(points), _BLOCK)
    largest = max(float(np.abs(points[start : start + _BLOCK] - self.centre).max()) for start in starts)
    exponent = np.ceil(np.log2(largest * np.sqrt(points.shape[1]))) if largest else 0
    self.scale = np.ldexp(1.0, -int(np.clip(exponent, -1000, 1000)))
    self.error = np.float32((points.shape[1] + 64) * 2.0**-24)
    self.block_size = min(_BLOCK, -(-len(points) // 8) * 8)
    blocks = np.empty((len(starts), self.block_size, points.shape[1]), np.float32)
    norms = np.empty(blocks.shape[:2], np.float32)
    for index, start in enumerate(starts):
      blocks[index], norms[index] = self._block(points[start : start + _BLOCK])
    self.norms = norms.reshape(-1)
    self.blocks = jnp.asarray(blocks), jnp.asarray(norms)

  def squared_radii(self, k):
    """[N] float64, squared distances (in scaled units) to the k-th nearest other point."""
    radii = np.empty(len(self.points))
    for start in range(0, len(self.points), self.block_size):
      rows = np.arange(start, min(start + self.block_size, len(self.points)))
      lower, columns = _nearest(*self._block(self.points[rows]), start, *self.blocks, self.error, kept=k + _SPARE)
      lower, columns = np.asarray(lower)[: len(rows)], np.asarray(columns)[: len(rows)]

      # The k-th smallest upper bound of what was kept bounds the radius: only neighbours below it can matter.
      upper = lower + 2 * self.error * (self.norms[rows, None] + self.norms[columns]) + 3 * _TINY
      bound = np.partition(upper, k - 1, axis=1)[:, k - 1, None]
      row, position = np.nonzero((lower <= bound) & np.isfinite(lower))
      radii[rows] = self._kth_smallest(rows[row], columns[row, position], rows, k)

      # What was not kept is at least as far as the last one kept, by its lower bound.
      settled = (lower[:, -1] > _float32_above(radii[rows])) | (radii[rows] == 0)
      for few in _groups(rows[~settled]):
        row, column = self._possible(self.points[few], _float32_above(radii[few])[:, None])
        other = few[row] != column
        radii[few] = self._kth_smallest(few[row[other]], column[other], few, k)
    return radii

  def _padded(self, radii):
    """Radii of all points, -inf for those that fill the last block; and their bounds in float32, in blocks."""
    padded = np.full(self.norms.shape, -np.inf)
    padded[: len(radii)] = radii
    return padded, [x.reshape(self.blocks[1].shape) for x in (_float32_below(padded), _float32_above(padded))]

  def contains(self, queries, radii):
    """[M] bool, whether each query is within the (scaled, squared) radius of at least one point."""
    inside = np.zeros(len(queries), bool)
    padded, blocked = self._padded(radii)
    for start in range(0, len(queries), self.block_size):
      chosen = np.arange(start, min(start + self.block_size, len(queries)))
      surely, possibly = _covered(*self._block(queries[chosen]), *self.blocks, *blocked, self.error)
      inside[chosen] = np.asarray(surely)[: len(chosen)]
      for few in _groups(chosen[np.asarray(possibly & ~surely)[: len(chosen)]]):
        row, column = self._possible(queries[few], _float32_above(padded))
        inside[few[row[self._squared_distances(queries, few[row], column) <= radii[column]]]] = True
    return inside

  def members(self, queries, radii):
    """[N] int, how many queries lie within each point's (scaled, squared) radius."""
    counts, blocked = np.zeros(len(self.points), np.int64), self._padded(radii)[1]
    for start in range(0, len(queries), self.block_size):
      chosen = np.arange(start, min(start + self.block_size, len(queries)))
      surely, possibly = _members(*self._block(queries[chosen]), *self.blocks, *blocked, self.error)
      row, column = np.nonzero(np.asarray(possibly)[: len(chosen), : len(counts)])
      column = column[self._squared_distances(queries, chosen[row], column) <= radii[column]]
      counts += np.asarray(surely)[: len(counts)] + np.bincount(column, minlength=len(counts))
    return counts

  def _block(self, points, size=None):
    """(float32 [size, D], squared norms [size]) of at most `size` points; the padding is infinitely far away."""
    size = size or self.block_size
    padding = size - len(points)
    with np.errstate(over="ignore"):  # a query out of float32's range is as good as infinitely far
      points = (points - self.centre) * self.scale
      norms = np.square(points).sum(axis=1).astype(np.float32)
      points = points.astype(np.float32)
    return np.pad(points, ((0, padding), (0, 0))), np.pad(norms, (0, padding), constant_values=np.inf)

  def _possible(self, few, thresholds):
    """Indices (row, column) of the pairs whose squared distance may be below a threshold [rows or 1, columns or 1]."""
    thresholds = np.pad(thresholds, ((0, _FEW - len(few)), (0, 0))) if thresholds.ndim == 2 else thresholds
    mask = _below(*self._block(few, _FEW), *self.blocks, thresholds, self.error)
    return np.nonzero(np.asarray(mask)[: len(few), : len(self.points)])

  def _squared_distances(self, queries, rows, columns):
    """[P] float64 in scaled units, queries[rows] to points[columns], from differences: nothing cancels."""
    distances = np.empty(len(rows))
    step = max(1, _PAIR_VALUES // queries.shape[1])
    for start in range(0, len(rows), step):
      part = slice(start, start + step)
      difference = queries[rows[part]].astype(np.float64) - self.points[columns[part]]
      distances[part] = np.square(difference * self.scale).sum(axis=1)
    return distances

  def _kth_smallest(self, rows, columns, wanted, k):
    """The k-th smallest squared distance of each of `wanted` (ascending) among the pairs of ascending `rows`."""
    distances = self._squared_distances(self.points, rows, columns)
    order = np.lexsort((distances, rows))
    return distances[order][np.searchsorted(rows, wanted) + k - 1]


def _bracket(points, norms, other_points, other_norms, error):
  """Lower and upper bounds [A, B] of the squared distances."""
  products = jnp.matmul(points, other_points.T, precision=jax.lax.Precision.HIGHEST)
  sums = norms[:, None] + other_norms
  return (1 - error) * sums - 2 * products - _TINY, (1 + error) * sums - 2 * products + _TINY


@functools.partial(jax.jit, static_argnames="kept")
def _nearest(points, norms, first_row, blocks, block_norms, error, *, kept):
  """The `kept` smallest lower bounds [A, kept] of each point to the others, ascending, and whose they are."""
  rows = first_row + jnp.arange(len(points), dtype=jnp.int32)

  def merge(best, block):
    index, other_points, other_norms = block
    columns = index * len(other_points) + jnp.arange(len(other_points), dtype=jnp.int32)
    lower, _ = _bracket(points, norms, other_points, other_norms, error)
    lower = jnp.where(rows[:, None] == columns, jnp.inf, lower)
    lower = jnp.concatenate([best[0], lower], axis=1)
    columns = jnp.concatenate([best[1], jnp.broadcast_to(columns, (len(rows), len(columns)))], axis=1)
    negative, position = jax.lax.top_k(-lower, kept)
    return (-negative, jnp.take_along_axis(columns, position, axis=1)), None

  best = jnp.full((len(points), kept), jnp.inf, jnp.float32), jnp.zeros((len(points), kept), jnp.int32)
  best, _ = jax.lax.scan(merge, best, (jnp.arange(len(blocks), dtype=jnp.int32), blocks, block_norms))
  return best


@jax.jit
def _covered(points, norms, blocks, block_norms, radii_below, radii_above, error):
  """Whether each point is surely, and whether it is possibly, in one of the balls: two [A] bool."""

  def merge(flags, block):
    other_points, other_norms, below, above = block
    lower, upper = _bracket(points, norms, other_points, other_norms, error)
    return (flags[0] | (upper <= below).any(axis=1), flags[1] | (lower <= above).any(axis=1)), None

  none = jnp.zeros(len(points), bool)
  return jax.lax.scan(merge, (none, none), (blocks, block_norms, radii_below, radii_above))[0]


@jax.jit
def _members(points, norms, blocks, block_norms, radii_below, radii_above, error):
  """How many of the points are surely in each ball [all points], and who else may be in it: [A, all points] bool."""

  def count(block):
    other_points, other_norms, below, above = block
    lower, upper = _bracket(points, norms, other_points, other_norms, error)
    surely = upper <= below
    return surely.sum(0), (lower <= above) & ~surely

  counts, possibly = jax.lax.map(count, (blocks, block_norms, radii_below, radii_above))
  return counts.reshape(-1), jnp.moveaxis(possibly, 0, 1).reshape(len(points), -1)


@jax.jit
def _below(points, norms, blocks, block_norms, thresholds, error):
  """Whether each squared distance [A, all points] may be at most its threshold, by its lower bound."""
  lower = jax.lax.map(lambda block: _bracket(points, norms, block[0], block[1], error)[0], (blocks, block_norms))
  return jnp.moveaxis(lower, 0, 1).reshape(len(points), -1) <= thresholds


def _groups(indices):
  return [indices[start : start + _FEW] for start in range(0, len(indices), _FEW)]


def _float32_below(values):
  return np.nextafter(values.astype(np.float32), np.float32(-np.inf))


def _float32_above(values):
  return np.nextafter(values.astype(np.float32), np.float32(np.inf))


def _as_points(points, name):
  points = np.asarray(points)
  if points.ndim != 2 or not points.size or points.dtype.kind not in "fiub":
    raise UserError(f"the {name} features must be numbers [N, D], got {points.dtype} {points.shape}")
  if not np.isfinite(points).all():
    raise UserError(f"the {name} features are not finite: the images or the extractor's weights hold NaN or inf")
  return points
