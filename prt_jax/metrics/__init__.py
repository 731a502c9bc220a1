"""What the papers measure, each metric usable alone. Images are float32 [B, H, W, C] in [0, 1]."""

from prt_jax.metrics.difference_quotient import lipschitz_lower_bound
from prt_jax.metrics.frechet import FeatureStatistics, Gaussian, frechet_distance
from prt_jax.metrics.image import PSNR_CAP, consistency_max_error, consistency_psnr, psnr, ssim
from prt_jax.metrics.lpips import load_lpips_heads, lpips_style_distance
from prt_jax.metrics.luma import psnr_y
from prt_jax.metrics.precision_recall import density_coverage, precision_recall
from prt_jax.metrics.sampler_change import coupled_change, sampler_wasserstein
from prt_jax.metrics.spread import per_pixel_std, seed_diversity
from prt_jax.metrics.wasserstein import wasserstein

__all__ = [
  "PSNR_CAP",
  "FeatureStatistics",
  "Gaussian",
  "consistency_max_error",
  "consistency_psnr",
  "coupled_change",
  "density_coverage",
  "frechet_distance",
  "lipschitz_lower_bound",
  "load_lpips_heads",
  "lpips_style_distance",
  "per_pixel_std",
  "precision_recall",
  "psnr",
  "psnr_y",
  "sampler_wasserstein",
  "seed_diversity",
  "ssim",
  "wasserstein",
]
