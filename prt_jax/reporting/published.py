"""The published numbers that a run is shown beside."""

from ml_collections import ConfigDict

# Paper A, Table 1: inpainting of the upper 3/4, CelebA 64x64, FID and k = 3 in InceptionV3 features, 50,000 images.
TABLE_1 = {
  "stochastic-erratic": {
    "frechet": 14.10, "precision": 0.670, "recall": 0.388, "per_pixel_std": 0.007, "robustness_db": 6.884,
    "ai_psnr_db": 34.47,
  },
  "stochastic-robust": {
    "frechet": 19.27, "precision": 0.634, "recall": 0.268, "per_pixel_std": 0.105, "robustness_db": 26.19,
    "ai_psnr_db": 32.95,
  },
  "deterministic-erratic": {
    "frechet": 14.37, "precision": 0.670, "recall": 0.382, "per_pixel_std": 0.0, "robustness_db": 3.544,
    "ai_psnr_db": 34.18,
  },
  "deterministic-robust": {
    "frechet": 39.09, "precision": 0.533, "recall": 0.022, "per_pixel_std": 0.0, "robustness_db": 23.69,
    "ai_psnr_db": 32.98,
  },
}


def variant(config: ConfigDict) -> str:
  """The paper's name of a config's column."""
  randomness = "stochastic" if config.model.stochastic else "deterministic"
  return f"{randomness}-{'robust' if config.optim.robust_weight else 'erratic'}"


def row(config: ConfigDict) -> tuple[str, dict[str, float]]:
  """(where the numbers are from, {result: value}); no numbers where the paper printed none.

  For super-resolution the paper has a figure alone: AI-PSNR 34 dB is all that can be read off exactly.
  """
  if config.degradation.kind == "inpainting":
    return "paper A, Table 1 (CelebA 64x64, FID)", TABLE_1[variant(config)]
  if config.degradation.kind == "super_resolution":
    return "paper A, super-resolution figure (axes only)", {"ai_psnr_db": 34.0}
  return "nothing to compare with", {}
