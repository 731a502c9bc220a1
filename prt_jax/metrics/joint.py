"""The joint perceptual index of paper B: how far p_{Xhat,Y} is from p_{X,Y}, perceptual quality and consistency in one.

Three estimates of one idea, for small samples, for larger ones, and for images through features.

The Sinkhorn steps are a dozen lines, and small beside what ott-jax would bring: geometries, solvers, stopping rules and
their gradients, none of which a number in a report needs. Written here, whatever moves the value can be read: the fixed
number of averaged steps, epsilon's way down, products in full float32.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from prt_jax.errors import UserError
from prt_jax.metrics.frechet import frechet_distance
from prt_jax.metrics.wasserstein import wasserstein

_ANNEALING = 0.9  # factor of epsilon from step to step, from the largest cost down to the wanted one


def joint_wasserstein(
  x: ArrayLike, y: ArrayLike, x_hat: ArrayLike, y_hat: ArrayLike | None = None, *, p: float = 1
) -> float:
  """W_p between the joint samples (x, y) and (x_hat, y_hat), by exact assignment.

  Args:
    x: [N, ...], originals; trailing axes are flattened, the distance is Euclidean over x and y together.
    y: [N, ...], their measurements.
    x_hat: [N, ...], restorations f(y_hat), shaped like x.
    y_hat: [N, ...], the measurements that were restored; None = y itself, which lowers the sampling noise.
    p: the order, >= 1; quality_bounds take 1 and 2.

  Returns:
    float, in the units of the samples. Time grows as N^3: from about 3000 points take sinkhorn_divergence.

  Raises:
    UserError: sizes that do not go together.
  """
  return wasserstein(_joined(x, y), _joined(x_hat, y if y_hat is None else y_hat), p)


def joint_sinkhorn(
  x: ArrayLike, y: ArrayLike, x_hat: ArrayLike, y_hat: ArrayLike | None = None, *, epsilon: float | None = None
) -> float:
  """The Sinkhorn divergence's root, an estimate of W_2, between the joint samples; arguments of joint_wasserstein."""
  return sinkhorn_divergence(_joined(x, y), _joined(x_hat, y if y_hat is None else y_hat), epsilon=epsilon) ** 0.5


def joint_frechet_distance(
  x_features: ArrayLike, y_features: ArrayLike, x_hat_features: ArrayLike, y_hat_features: ArrayLike | None = None
) -> float:
  """JFID's form: the Frechet distance between Gaussians of the joined features of image and measurement.

  Paper B takes InceptionV3 features and reports the root. Our reading: the two feature vectors of a pair are
  concatenated, those of the measurement taken from it upsampled. Call it JFID only in the features of FID.

  Args:
    x_features, x_hat_features: [N, D] of originals and of restorations; N may differ.
    y_features: [N, E] of the originals' measurements.
    y_hat_features: of the measurements restored; None = y_features.

  Returns:
    float >= 0, squared like FID.
  """
  y_hat_features = y_features if y_hat_features is None else y_hat_features
  return frechet_distance(_joined(x_features, y_features), _joined(x_hat_features, y_hat_features))


def sinkhorn_divergence(a: ArrayLike, b: ArrayLike, *, epsilon: float | None = None, num_steps: int = 200) -> float:
  """Debiased entropic transport cost (Feydy et al. 2019) for the squared Euclidean cost.

  OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2, each regularised by epsilon. It is >= 0, 0 for equal samples, and tends to
  W_2^2 as epsilon falls. A sample against itself, translated, gives the squared length of the translation exactly.

  Args:
    a, b: [N, D] and [M, D].
    epsilon: squared units of the points; None = 1 % of the mean cost between a and b.
    num_steps: averaged Sinkhorn steps; too few leave the value inexact where epsilon is small.

  Returns:
    float, in squared units of the points. Time and memory grow as N M.

  Raises:
    UserError: dimensions that do not go together, or epsilon <= 0.
  """
  a, b = (np.asarray(points, np.float64) for points in (a, b))
  if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
    raise UserError(f"sinkhorn_divergence needs samples [N, D] and [M, D], got {a.shape} and {b.shape}")
  # Distances do not see a common shift; float32 keeps more digits about 0.
  centre = np.concatenate([a, b]).mean(0)
  a, b = (jnp.asarray(points - centre, jnp.float32) for points in (a, b))
  if epsilon is None:
    epsilon = 0.01 * float(jnp.mean(_costs(a, b)))
    if epsilon == 0:
      return 0.0
  if not epsilon > 0:
    raise UserError(f"sinkhorn_divergence regularises with epsilon > 0, got {epsilon}")
  with jax.default_matmul_precision("highest"):
    cross, own_a, own_b = (_transport(*pair, epsilon, num_steps) for pair in ((a, b), (a, a), (b, b)))
  return max(float(cross - (own_a + own_b) / 2), 0.0)


@jax.jit
def _transport(a, b, epsilon, num_steps):
  """The regularised cost, from its dual potentials after averaged updates in the log domain."""
  costs = _costs(a, b)

  def soft_minimum(costs, potential, epsilon):
    # -epsilon log mean_j exp((potential_j - cost_ij) / epsilon)
    count = costs.shape[1]
    return -epsilon * (jax.nn.logsumexp((potential - costs) / epsilon, axis=1) - jnp.log(count))

  def step(number, potentials):
    # Annealed: a small epsilon from the start would move the potentials by about epsilon a step.
    current = jnp.maximum(epsilon, largest * _ANNEALING**number)
    f, g = potentials
    return (f + soft_minimum(costs, g, current)) / 2, (g + soft_minimum(costs.T, f, current)) / 2

  largest = costs.max()
  f, g = jax.lax.fori_loop(0, num_steps, step, (jnp.zeros(len(a)), jnp.zeros(len(b))))
  return soft_minimum(costs, g, epsilon).mean() + soft_minimum(costs.T, f, epsilon).mean()


def _costs(a, b):
  squares = jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
  return jnp.maximum(squares, 0)


def _joined(x, y):
  x, y = (np.asarray(sample, np.float64) for sample in (x, y))
  if not x.ndim or x.shape[:1] != y.shape[:1]:
    raise UserError(f"a joint sample needs as many x as y, got {x.shape} and {y.shape}")
  return np.concatenate([x.reshape(len(x), -1), y.reshape(len(y), -1)], axis=1)
