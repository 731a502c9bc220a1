"""Denoising, CelebA 64x64, noise of std 0.1: a task that the papers do not have.

Run: python -m prt_jax.main --config=configs/denoise.py:stochastic-robust
No projection: a sample of the posterior misses y by the noise, 20 dB.
Measured here: not yet; a few finite steps of tiny nets.
"""

from prt_jax.config import VARIANTS, base, finish


def get_config(arg=VARIANTS[0]):
  config = base()
  config.degradation.update(kind="denoising", noise_std=0.1)
  config.attack.eps = 2.212  # 34 dB of input PSNR, as in super-resolution
  return finish(config, arg)
