"""Inpainting of the upper 3/4, CelebA 64x64: paper A, Table 1 and Fig. 1.

Run: python -m prt_jax.main --config=configs/inpaint.py:stochastic-robust
Published, stochastic-erratic | stochastic-robust | deterministic-erratic | deterministic-robust:
  FID 14.10 | 19.27 | 14.37 | 39.09; precision .670 | .634 | .670 | .533; recall .388 | .268 | .382 | .022
  per-pixel std .007 | .105 | 0 | 0; robustness 6.884 | 26.19 | 3.544 | 23.69 dB; AI-PSNR 34.47 | 32.95 | 34.18 | 32.98
Measured here: docs/results/faces_mini.md at `mini` scale; six finite full-size steps on a CPU (docs/measured.md);
  a full run, not yet.
"""

from prt_jax.config import VARIANTS, base, finish


def get_config(arg=VARIANTS[0]):
  config = base()
  config.degradation.kind = "inpainting"
  config.attack.eps = 2.5
  return finish(config, arg)
