"""Super-resolution x4, CelebA 64x64: paper A, the super-resolution figure.

Run: python -m prt_jax.main --config=configs/sr4.py:stochastic-robust
Published (figure, axes only): FID worsens with the factor, worst for deterministic-robust through recall;
  std high for stochastic-robust alone; AI-PSNR 34 dB. FID 10 to 30, robustness 12 to 36 dB.
Measured here: docs/results/faces_mini.md at `mini` scale; a full run, not yet.
"""

from prt_jax.config import VARIANTS, base, finish


def get_config(arg=VARIANTS[0]):
  config = base()
  config.degradation.factor = 4
  config.attack.eps = 0.553
  return finish(config, arg)
