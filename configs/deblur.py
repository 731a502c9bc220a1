"""Deblurring of a Gaussian of 2 pixels, CelebA 64x64: a task that the papers do not have.

Run: python -m prt_jax.main --config=configs/deblur.py:stochastic-robust
The projection is damped (prt_jax/degradations/gaussian_blur.py): consistency is near, not exact.
Measured here: not yet; a few finite steps of tiny nets.
"""

from prt_jax.config import VARIANTS, base, finish


def get_config(arg=VARIANTS[0]):
  config = base()
  config.degradation.kind = "gaussian_blur"
  config.attack.eps = 2.212  # 34 dB of input PSNR, as in super-resolution
  return finish(config, arg)
