"""What is measured of a restorer, a row each: evaluation, audit, their reports and comparisons read this table.

A measure is a function of a Sample, a batch of restorations with or without an attack on them, and gives a number an
example. Where two definitions are wanted they have two names.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax import metrics
from prt_jax.attacks import l2_norm
from prt_jax.attacks.table import mean_square
from prt_jax.lipschitz import sure_lower_bound
from prt_jax.metrics.image import PSNR_CAP, consistency_max_error, consistency_psnr, psnr
from prt_jax.metrics.luma import psnr_y
from prt_jax.metrics.sampler_change import coupled_change, sampler_wasserstein

SSIM_WINDOW = 11  # pixels: smaller images have no SSIM


class Sample(NamedTuple):
  """What was seen of a batch; None where it is not known. Pixels in [0, 1], restorations as they come, not clipped.

  Attributes:
    y: measurements [B,h,w,C].
    restored: restorations [S,B,H,W,3], one a draw of Z; the first is "the" restoration.
    x: originals [B,H,W,3].
    degraded: D(restored) without noise, [S,B,h,w,C].
    std: standard deviation over draws of Z, as many as the protocol says, [B,H,W,3].
    attack: the name of the attack on the measurement.
    attacked_y: y + delta as the restorer saw it, rounded.
    attacked: restorations of y + delta with the same draws, [S,B,H,W,3].
    late_gain: dB that the last tenth of an attack's steps gained, [B].
    stretch: ||J^T u|| [B] of the Jacobian about y and a unit vector u.
  """

  y: Any
  restored: Any
  x: Any = None
  degraded: Any = None
  std: Any = None
  attack: str | None = None
  attacked_y: Any = None
  attacked: Any = None
  late_gain: Any = None
  stretch: Any = None

  @property
  def delta(self) -> Any:
    """The change of the measurement."""
    return self.attacked_y - self.y


class Settings(NamedTuple):
  """What measures need beside a sample; None: unknown, and what needs it is left out.

  Attributes:
    psnr_size: the number of values of one image that AI-PSNR averages over.
    border: pixels on each side that PSNR-Y leaves out.
    noise_variance: of the measurements' noise.
    lpips: weights of SqueezeNet 1.1.
  """

  psnr_size: Any = None
  border: Any = None
  noise_variance: Any = None
  lpips: Any = None


@dataclasses.dataclass(frozen=True)
class Measure:
  """Attributes:
  label, unit, digits: for reports; digits after the point.
  better: 'higher', 'lower' or '' where neither is.
  needs: fields of Sample and Settings that must be known.
  compute: (Sample, Settings) -> [B].
  definition: what it is, how it is clipped and capped, over which draws; reports print it.
  reduce: 'mean' | 'min' | 'max' over examples, 'quantiles' (median, 95th percentile, maximum), or '': reports leave it.
  on_host: numpy computes it, in float64.
  min_draws: with fewer draws of Z it says nothing, and is left out.
  """

  label: str
  unit: str
  digits: int
  better: str
  needs: tuple[str, ...]
  compute: Callable[[Sample, Settings], Any]
  definition: str
  reduce: str = "mean"
  on_host: bool = False
  min_draws: int = 1


def _capped(values):
  return jnp.minimum(values, PSNR_CAP)


@jax.jit
def capped_consistency_psnr(y: jax.Array, degraded: jax.Array) -> jax.Array:
  """metrics.consistency_psnr, at most PSNR_CAP: [B] in dB. Jitted, it takes restorations in any range."""
  return _capped(consistency_psnr(y, degraded))


def _over_draws(function, *arrays):
  """The mean over draws of a function of [B, ...] arrays, those of `arrays` that lead with draws being mapped."""
  return jnp.mean(jax.vmap(function)(*arrays), 0)


def _shown(x):
  return jnp.clip(x, 0, 1)


def _like_draws(y, restored):
  return jnp.broadcast_to(y, (len(restored), *y.shape))


def _bounds(sample):
  """||f(y + delta, Z) - f(y, Z)|| / ||delta|| of each draw, less what rounding may have added, [S,B]."""
  return jax.vmap(lambda x, attacked: sure_lower_bound(x, attacked, sample.delta))(sample.restored, sample.attacked)


def _seed_diversity(sample, _):
  if len(sample.restored) < 2:
    return jnp.zeros(sample.restored.shape[1])
  return metrics.seed_diversity(sample.restored)


MEASURES = {
  "restored_minimum": Measure(
    "darkest pixel", "", 3, "", (), lambda sample, _: jnp.min(sample.restored, (0, 2, 3, 4)),
    "of all restorations, not clipped; black is 0", reduce="min",
  ),
  "restored_maximum": Measure(
    "brightest pixel", "", 3, "", (), lambda sample, _: jnp.max(sample.restored, (0, 2, 3, 4)),
    "of all restorations, not clipped; white is 1", reduce="max",
  ),
  "psnr_db": Measure(
    "PSNR to the original", "dB", 2, "higher", ("x",),
    lambda sample, _: _capped(psnr(sample.restored[0], sample.x)),
    "of the first draw, not clipped, at most 100; perceptual quality costs some of it",
  ),
  "psnr_y_db": Measure(
    "PSNR-Y to the original", "dB", 2, "higher", ("x", "border"),
    lambda sample, settings: np.stack([
      np.mean([psnr_y(draw, x, int(settings.border)) for draw in draws])
      for draws, x in zip(np.moveaxis(np.clip(sample.restored, 0, 1), 1, 0), np.asarray(sample.x), strict=True)
    ]),
    "of the luma, clipped, 8 bits, without the border, mean over draws, at most 100",
    on_host=True,
  ),
  "ssim": Measure(
    "SSIM to the original", "", 3, "higher", ("x",),
    lambda sample, _: metrics.ssim(sample.restored[0], sample.x), "of the first draw, not clipped"
  ),
  "lpips_style": Measure(
    "LPIPS-style distance", "", 4, "lower", ("x", "lpips"),
    lambda sample, settings: metrics.lpips_style_distance(settings.lpips, _shown(sample.restored[0]), sample.x),
    "of the first draw, clipped; SqueezeNet 1.1, uncalibrated; not the published LPIPS",
  ),
  "consistency_db": Measure(
    "consistency", "dB", 1, "higher", ("degraded",),
    lambda sample, _: capped_consistency_psnr(sample.y, sample.degraded[0]),
    "PSNR between D(restoration) and y, of the first draw, not clipped, at most 100",
  ),
  "consistency_over_z_db": Measure(
    "consistency, mean over draws", "dB", 1, "higher", ("degraded",),
    lambda sample, _: _over_draws(lambda degraded: capped_consistency_psnr(sample.y, degraded), sample.degraded),
    "the same of every draw, averaged in dB",
  ),
  "consistency_max_error": Measure(
    "worst |D(restoration) - y|", "", 8, "lower", ("degraded",),
    lambda sample, _: consistency_max_error(sample.y, sample.degraded[0]),
    "over all inputs and pixels, of the first draw", reduce="max",
  ),
  "residual_over_noise": Measure(
    "residual over noise", "", 3, "", ("degraded", "noise_variance"),
    lambda sample, settings: jnp.mean(
      (sample.degraded - _like_draws(sample.y, sample.degraded)) ** 2, (0, *range(2, sample.degraded.ndim))
    ) / settings.noise_variance,
    "mean squared D(restoration) - y over draws, in units of the noise variance: about 1 is consistent with noise",
  ),
  "per_pixel_std": Measure(
    "per-pixel std", "", 4, "", ("std",),
    lambda sample, _: jnp.mean(sample.std, (1, 2, 3)),
    "over draws of Z (divisor: draws less one), not clipped, averaged over pixels; 1 is white against black",
  ),
  "seed_diversity": Measure(
    "distance between seeds", "RMSE", 4, "", ("std",), _seed_diversity,
    "over pairs of the attacks' draws, not clipped",
  ),
  "robustness_db": Measure(
    "robustness", "dB", 2, "higher", ("attacked",),
    lambda sample, _: _over_draws(lambda x, attacked: _capped(psnr(x, attacked)), sample.restored, sample.attacked),
    "PSNR between restoring y and y + delta, same Z, not clipped, each draw's at most 100, mean over draws (Eq. 9)",
  ),
  "output_psnr_db": Measure(
    "output PSNR", "dB", 2, "higher", ("attacked",),
    lambda sample, _: _over_draws(
      lambda x, attacked: _capped(psnr(_shown(attacked), _shown(x))), sample.restored, sample.attacked
    ),
    "the same of the pictures, clipped to [0, 1]",
  ),
  "ai_psnr_db": Measure(
    "AI-PSNR", "dB", 2, "", ("attacked_y", "psnr_size"),
    lambda sample, settings: -10 * jnp.log10(l2_norm(sample.delta) ** 2 / settings.psnr_size),
    "PSNR between y and y + delta, in inpainting over the whole image",
  ),
  "input_psnr_db": Measure(
    "input PSNR", "dB", 2, "", ("attacked_y",),
    lambda sample, _: _capped(psnr(sample.attacked_y, sample.y)),
    "PSNR between y and y + delta over the measurement, at most 100",
  ),
  "late_gain_db": Measure(
    "gain of its last steps", "dB", 2, "lower", ("attacked", "late_gain"), lambda sample, _: sample.late_gain,
    "by how much the last tenth of the attack's steps lowered the output PSNR: little says that more would not help",
  ),
  "change": Measure(
    "squared change", "", 4, "", ("attacked",),
    lambda sample, _: mean_square(sample.attacked, sample.restored),
    "sum over pixels, mean over draws, not clipped: what the training attack maximises", reduce="",
  ),
  "fresh_robustness_db": Measure(
    "robustness, fresh noise", "dB", 2, "higher", ("attacked",),
    lambda sample, _: _over_draws(
      lambda x, attacked: _capped(psnr(x, attacked)), sample.restored, jnp.roll(sample.attacked, 1, 0)
    ),
    "PSNR between restoring y and y + delta with independent Z, not clipped: what two calls show; the distance between "
    "seeds bounds it without any attack", min_draws=2,
  ),
  "w1_coupled": Measure(
    "W1 under the attack, at most", "RMSE", 4, "lower", ("attacked",),
    lambda sample, _: coupled_change(sample.restored, sample.attacked),
    "RMSE between draws of the same Z, mean over draws, not clipped: an upper bound of the next (paper A, App. D)",
    min_draws=2,
  ),
  "w1": Measure(
    "W1 under the attack", "RMSE", 4, "lower", ("attacked",),
    lambda sample, _: sampler_wasserstein(sample.restored, sample.attacked),
    "between the draws of y and those of y + delta, of the same Z, by exact assignment: how far the attack moves the "
    "distribution", on_host=True, min_draws=2,
  ),
  "lipschitz": Measure(
    "K over draws", "", 2, "lower", ("attacked",),
    lambda sample, _: jnp.sqrt(jnp.mean(_bounds(sample) ** 2, 0)),
    "root mean square over draws of ||f(y + delta, Z) - f(y, Z)|| / ||delta||, each less what rounding may have added: "
    "a lower bound in L2 over Z",
    reduce="quantiles",
  ),
  "lipschitz_worst_draw": Measure(
    "K of the worst draw", "", 2, "lower", ("attacked",),
    lambda sample, _: jnp.max(_bounds(sample), 0),
    "the largest of the same over draws",
    reduce="quantiles",
  ),
  "lipschitz_from_jacobian": Measure(
    "K from the Jacobian", "", 2, "lower", ("stretch",), lambda sample, _: sample.stretch,
    "||J^T u|| of the first draw's Jacobian, .001 from y (L2; farther in half precision), u a unit vector found by "
    "power iteration with the restorer's own backward pass: a lower bound",
    reduce="quantiles",
  ),
}  # fmt: skip

# A sample without an attack has these, one with an attack the others.
_OF_ATTACKS = ("attacked", "attacked_y", "stretch")


def due(sample: Sample, settings: Settings) -> list[str]:
  """The measures of a sample: those whose needs are known; of an attacked sample those of the attack alone."""
  known = {name for name, value in (sample._asdict() | settings._asdict()).items() if value is not None}
  of_attack = sample.attacked_y is not None or sample.stretch is not None
  num_draws, _, *size, _ = sample.restored.shape[-5:]
  return [
    name for name, measure in MEASURES.items()
    if known >= set(measure.needs) and of_attack == any(need in _OF_ATTACKS for need in measure.needs)
    and num_draws >= measure.min_draws and not (name == "ssim" and min(size) < SSIM_WINDOW)
  ]  # fmt: skip


def compute(names: Sequence[str], settings: Settings, sample: Sample) -> dict[str, Any]:
  """{measure: [B]} of a sample. JAX may trace it, but for what is measured on the host."""
  return {name: MEASURES[name].compute(sample, settings) for name in names}
