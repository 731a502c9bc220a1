"""Super-resolution x16 of CelebA."""

from configs import default


def get_config(arg=default.VARIANTS[0]):
  config = default.base()
  config.degradation.factor = 16
  config.attack.eps = 0.138
  return default.finish(config, arg)
