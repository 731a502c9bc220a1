"""What a restorer's quality forces upon its Lipschitz constant: bounds for any estimator, proved where they stand.

All norms are Euclidean. m_1 = inf_g E||X - g(Y)|| is the least mean distance of any estimator, m_2 the root of the
least mean square error; W_{p,s} is the Wasserstein distance of order p between p_{X,Y} and p_{Xhat,Y} for the cost
sqrt(||x - x'||^2 + s^2 ||y - y'||^2), the joint index with the measurements scaled by s.
"""

from collections.abc import Sequence

import numpy as np

from prt_jax.metrics.joint import joint_wasserstein

SCALES = (0.03, 0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 3.0)  # of y, of sharpest_quality_bound


def quality_bound(deviation: float, joint_distance: float, scale: float = 1.0) -> float:
  """K >= s sqrt((m_p / W_{p,s})^2 - 1): how erratic a deterministic estimator of a given joint quality must be.

  Proof. Let f be K-Lipschitz, and ((X, Y), (f(Y'), Y')) an optimal coupling of the two joint distributions. With
  a = ||X - f(Y')|| and b = ||Y - Y'||, f being itself an estimator of X from Y, by Cauchy and Schwarz
    ||X - f(Y)|| <= a + K b = a + (K / s) (s b) <= sqrt(1 + K^2 / s^2) sqrt(a^2 + s^2 b^2).
  p = 1: the expectation is at least m_1 on the left and sqrt(1 + K^2 / s^2) W_{1,s} on the right. p = 2: squared first,
  it is at least m_2^2, and (1 + K^2 / s^2) W_{2,s}^2. Solved for K, for every s > 0. QED.

  Nothing is assumed of the degradation; where X is a function of Y, m = 0 and the bound says nothing. At s = 1 it is
  never below m / W - 1, which the triangle inequality gives at once. As W falls it grows as 1 / W, where the form in
  which paper B's Theorem 4.1 is quoted, m' / sqrt(W) - m'', grows as 1 / sqrt(W). It is attained: for X = +-1,
  independent of Y = +-e, and f(+-e) = +-1, W_{1,s} = s e and the bound sqrt(1 / e^2 - s^2) tends to K = 1 / e.

  Args:
    deviation: m_p, in the units of X.
    joint_distance: W_{p,s}, in the same units.
    scale: s, over 0.

  Returns:
    the bound, at least 0; inf where the distance is 0 and m is not.

  Raises:
    ValueError: a negative distance, or a scale that is not over 0.

  Example:
    >>> round(quality_bound(deviation=5.0, joint_distance=3.0), 4)  # sqrt((5 / 3)^2 - 1)
    1.3333
  """
  if deviation < 0 or joint_distance < 0 or scale <= 0:
    raise ValueError(
      f"distances are not negative and scales over 0, got deviation={deviation}, joint_distance={joint_distance}, "
      f"scale={scale}"
    )
  if deviation <= joint_distance:
    return 0.0
  return scale * float(np.sqrt((deviation / joint_distance) ** 2 - 1)) if joint_distance else float("inf")


def sharpest_quality_bound(
  samples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
  deviation: float,
  *,
  p: int = 1,
  scales: Sequence[float] = SCALES,
) -> tuple[float, float]:
  """The largest quality_bound over scales of y, each by exact assignment, means over the samples.

  W of a finite sample is too large on average, which lowers the bound. The largest of several is no estimate without a
  bias upwards, which their means keep small.

  Args:
    samples: (x, y, f(y)) each, [N, ...].
    deviation: m_p.
    p: the order.
    scales: s.

  Returns:
    (the bound, its s).

  Example:
    >>> x = np.array([[1.0], [-1.0]])
    >>> bound, scale = sharpest_quality_bound([(x, 0 * x, x * [[1.0], [-1.0]])], deviation=1.0, scales=(1.0,))
    >>> bool(bound >= 0), scale
    (True, 1.0)
  """
  found = []
  for scale in scales:
    distances = [joint_wasserstein(x, scale * np.asarray(y), x_hat, p=p) for x, y, x_hat in samples]
    found.append((quality_bound(deviation, float(np.mean(distances)), scale), scale))
  return max(found)


def consistency_floor(degradation_norm: float) -> float:
  """K >= 1 / ||D|| for whatever restores exactly: D(f(y)) = y.

  Proof. ||y - y'|| = ||D(f(y) - f(y'))|| <= ||D|| ||f(y) - f(y')||, D linear. QED. For block means of factor s,
  ||D|| = 1 / s, and 1 for inpainting: K is 4, 8, 16 or more in x4, x8, x16 without any erratic behaviour.

  Example:
    >>> consistency_floor(1 / 4)  # block means, x4
    4.0
  """
  return 1 / degradation_norm


def beyond_floor(lipschitz: float, floor: float) -> float:
  """sqrt(K^2 - floor^2): what a restorer adds to what consistency forces, the part of a change that D does not see.

  0 where K, a lower bound, is below the floor itself.

  Example:
    >>> beyond_floor(5.0, 4.0)
    3.0
  """
  return max(lipschitz**2 - floor**2, 0.0) ** 0.5


def robustness_ceiling(input_psnr_db: float, degradation_norm: float, output_size: int, input_size: int) -> float:
  """The PSNR between f(y) and f(y + delta) that exact consistency allows at most, in dB.

  The change of the output is at least ||delta|| / ||D||. Block means give the input PSNR itself, and so does inpainting
  where that counts all pixels.

  Args:
    input_psnr_db: PSNR between y and y + delta, averaged over input_size values.
    degradation_norm: ||D||.
    output_size: values of one restoration.
    input_size: values that the input's PSNR averages over.

  Example:
    >>> robustness_ceiling(30.0, 1 / 4, output_size=16, input_size=1)  # block means give the input PSNR itself
    30.0
  """
  return input_psnr_db + 10 * float(np.log10(output_size * degradation_norm**2 / input_size))
