"""Removal of JPEG artefacts, quality 10, CelebA 64x64: a task that the papers do not have.

Run: python -m prt_jax.main --config=configs/dejpeg.py:stochastic-robust
No projection: that a restoration, compressed again, is y is left to the training.
Measured here: not yet; a few finite steps of tiny nets.
"""

from prt_jax.config import VARIANTS, base, finish


def get_config(arg=VARIANTS[0]):
  config = base()
  config.degradation.kind = "jpeg"
  config.attack.eps = 2.212  # 34 dB of input PSNR, as in super-resolution
  return finish(config, arg)
