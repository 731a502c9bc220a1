"""GANs between two concentric ellipses (paper A, App. B.1): X uniform there, Y its first coordinate.

Run: python -m experiments.two_ellipses
Published: no GANs, only two hand-made estimators (precision / recall .95 / .71 and .77 / .94).
Measured here: docs/toys.md.
"""

from configs import default, toy_disk


def get_config(arg=default.VARIANTS[0]):
  config = toy_disk.get_config(arg).unlock()
  config.data.name = "ellipses"
  return config.lock()
