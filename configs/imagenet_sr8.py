"""Super-resolution x8, ImageNet 64x64: paper A, the super-resolution figure.

Run: python -m prt_jax.main --config=configs/imagenet_sr8.py:stochastic-robust
Published (figure, axes only): FID worsens with the factor, worst for deterministic-robust through recall;
  std high for stochastic-robust alone; AI-PSNR 34 dB. FID 40 to 100, robustness 12 to 36 dB.
Measured here: a full run, not yet.
"""

from configs import default


def get_config(arg=default.VARIANTS[0]):
  config = default.base()
  config.data.update(name="imagenet_resized/64x64", resize=0, train_fraction=1.0)
  config.model.update(width=32, critic_width=32)
  config.degradation.factor = 8
  config.attack.eps = 0.276
  return default.finish(config, arg)
