"""GANs between two concentric ellipses (paper A, App. B.1): X uniform there, Y its first coordinate.

Run: python -m experiments.two_ellipses
Published: no GANs, only two hand-made estimators (precision / recall .95 / .71 and .77 / .94).
Measured here: docs/toys.md.
"""

from prt_jax.config import VARIANTS, load


def get_config(arg=VARIANTS[0]):
  config = load(f"toy_disk:{arg}").unlock()
  config.data.name = "ellipses"
  return config.lock()
