"""A certificate beside the attack: median smoothing, intervals that no change within a radius can leave.

An attack gives a lower bound of what a change can do, and says nothing of changes that it did not find. Median
smoothing (Chiang et al., *Detection as Regression: Certified Object Detection by Median Smoothing*, NeurIPS 2020; after
Cohen et al., ICML 2019) gives an upper bound, of a restorer that is made from the given one: the median, pixel by
pixel, of its outputs under Gaussian noise of the measurement,

    m(y) = median of f(y + sigma g), g standard normal.

For every pixel and every change ||d|| <= r, m(y + d) lies between the quantiles of f(y + sigma g) at Phi(-r / sigma)
and at Phi(r / sigma), Phi the normal distribution function, since Gaussian noise separates nothing worse than a
half-space (Neyman and Pearson). The quantiles are not known, but samples bound them: the k-th smallest of n lies below
(above) a quantile with a probability that the binomial distribution gives. The certificate is of the smoothed restorer,
not of f; the probability is that of drawing samples that mislead, and does not depend on f.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from prt_jax.errors import UserError
from prt_jax.precision import in_float32
from prt_jax.programs import as_program, is_eager


@dataclasses.dataclass(frozen=True)
class Certificate:
  """Intervals of the smoothed restoration of one batch.

  Attributes:
    median: [B, ...], the smoothed restoration, estimated by the samples' median.
    lower, upper: [R, B, ...], one a radius; between them is the smoothed restoration of every measurement within the
      radius, with probability `confidence` for any one pixel. Where samples are too few for a bound: `least`, `most`.
    radii: Euclidean, over all pixels and channels of one measurement.
    sigma: of the noise.
    num_samples: restorations that each interval is from.
    confidence: of one pixel's interval.

  Example:
    >>> certificate = certify(lambda y: y, jnp.full((1, 2), 0.5), jax.random.key(0), sigma=0.1, radii=(0.02, 0.05))
    >>> print(certificate.lower.shape, bool((certificate.lower[1] <= certificate.lower[0]).all()))
    (2, 1, 2) True
  """

  median: np.ndarray
  lower: np.ndarray
  upper: np.ndarray
  radii: tuple[float, ...]
  sigma: float
  num_samples: int
  confidence: float

  def widths(self) -> np.ndarray:
    """[R, B], the root mean square of an interval's width over an example's pixels: what may still happen."""
    squares = (self.upper - self.lower) ** 2
    return np.sqrt(squares.reshape(*squares.shape[:2], -1).mean(-1))

  def holds(self, x: np.ndarray, radius: float) -> np.ndarray:
    """[B], the share of pixels of x [B, ...] inside of the interval of a radius, one of radii."""
    index = self.radii.index(radius)
    inside = (self.lower[index] <= x) & (x <= self.upper[index])
    return inside.reshape(len(x), -1).mean(-1)


def order_statistics(num_samples: int, ratio: float, confidence: float) -> tuple[int, int]:
  """Which of n sorted samples bound the smoothed value of every change within a radius, counted from 1.

  Args:
    num_samples: n.
    ratio: radius / sigma.
    confidence: that both bounds hold; each fails with half of the rest.

  Returns:
    (k, l): the k-th smallest is at most the quantile at Phi(-ratio), the l-th smallest at least that at Phi(ratio),
    each with probability 1 - (1 - confidence) / 2 or more. k = 0 and l = n + 1: n is too small for a bound.

  Example:
    >>> order_statistics(1_000, ratio=0.0, confidence=0.999)  # of the median: 500 and three and more deviations of 15.8
    (448, 553)
  """
  error = (1 - confidence) / 2
  below, above = stats.norm.cdf(-ratio), stats.norm.cdf(ratio)
  counts = np.arange(num_samples + 1)
  # The k-th smallest is at most a quantile when k samples or more are: P(Binomial(n, p) >= k).
  enough = counts[stats.binom.sf(counts - 1, num_samples, below) >= 1 - error]
  # The l-th smallest is at least a quantile when at most l - 1 samples lie under it: P(Binomial(n, p) <= l - 1).
  few = counts[stats.binom.cdf(counts, num_samples, above) >= 1 - error]
  return int(enough.max()), int(few.min()) + 1


@in_float32
def ordered_samples(
  restore: Callable,
  y: jax.Array,
  key: jax.Array,
  *,
  sigma: float,
  num_samples: int = 1_000,
  batch_size: int = 50,
  least: float = 0.0,
  most: float = 1.0,
) -> np.ndarray:
  """[num_samples, B, ...], the restorations of y with noise, each pixel's ascending; arguments as in certify.

  Example:
    >>> ordered = ordered_samples(lambda y: y, jnp.full((1, 2), 0.5), jax.random.key(0), sigma=0.1, num_samples=100)
    >>> print(ordered.shape, bool((ordered[1:] >= ordered[:-1]).all()))
    (100, 1, 2) True
  """
  outputs = []
  for start in range(0, num_samples, batch_size):
    # Of each sample its own key: how many go together changes nothing.
    numbers = jnp.arange(start, start + batch_size)
    noise = jax.vmap(lambda number: jax.random.normal(jax.random.fold_in(key, number), y.shape))(numbers)
    noisy = (y + sigma * noise).reshape(-1, *y.shape[1:])
    # As a program: the next image's restorer, another object that computes the same, compiles nothing.
    x = restore(noisy) if is_eager(restore) else _call(as_program(restore, noisy), noisy)
    x = jnp.clip(x, least, most).reshape(batch_size, len(y), *x.shape[1:])
    outputs.append(np.asarray(x)[: num_samples - start])
  return np.sort(np.concatenate(outputs), axis=0)


@jax.jit
def _call(restore, y):
  return restore(y)


def certify(
  restore: Callable,
  y: jax.Array,
  key: jax.Array,
  *,
  sigma: float,
  radii: tuple[float, ...],
  num_samples: int = 1_000,
  confidence: float = 0.999,
  batch_size: int = 50,
  least: float = 0.0,
  most: float = 1.0,
) -> Certificate:
  """Median smoothing of a restorer around measurements.

  Args:
    restore: [N, ...] -> [N, ...], deterministic (of a stochastic restorer, one draw that is kept). Called on y with
      noise, which leaves [0, 1]; its outputs are clipped to [least, most], the range of pixels.
    y: [B, ...] float32.
    key: a typed key, of the noise.
    sigma: of the noise on every pixel of the measurement.
    radii: of the changes, Euclidean over an example; small beside 3 sigma, or the samples are too few for a bound.
    num_samples: of the noise; all are kept, num_samples times the output's bytes.
    confidence: that the interval of one pixel holds, over the draw of the noise.
    batch_size: restorations at a time.
    least, most: of an output.

  Returns:
    Certificate.

  Raises:
    UserError: numbers that cannot work.

  Example:
    >>> import jax
    >>> from prt_jax.smoothing import certify
    >>> y = jax.numpy.full((1, 2, 2, 1), 0.5)
    >>> certificate = certify(lambda y: 0.5 * y, y, jax.random.key(0), sigma=0.1, radii=(0.05,))
    >>> bool(certificate.lower.min() < 0.25 < certificate.upper.max())
    True
  """
  if not (sigma > 0 and num_samples > 0 and batch_size > 0 and 0 < confidence < 1):
    raise UserError(
      f"certify needs sigma > 0, num_samples > 0, batch_size > 0 and a confidence between 0 and 1, got {sigma}, "
      f"{num_samples}, {batch_size}, {confidence}"
    )
  if not radii or min(radii) < 0:
    raise UserError(f"certify needs radii of at least 0, got {radii}")
  ordered = ordered_samples(
    restore, y, key, sigma=sigma, num_samples=num_samples, batch_size=batch_size, least=least, most=most
  )
  bounded = np.concatenate([np.full_like(ordered[:1], least), ordered, np.full_like(ordered[:1], most)])
  places = [order_statistics(num_samples, radius / sigma, confidence) for radius in radii]
  return Certificate(
    median=np.median(ordered, axis=0),
    lower=np.stack([bounded[low] for low, _ in places]),
    upper=np.stack([bounded[high] for _, high in places]),
    radii=tuple(radii),
    sigma=sigma,
    num_samples=num_samples,
    confidence=confidence,
  )
