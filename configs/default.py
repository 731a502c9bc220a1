"""The defaults, which are sr16: super-resolution x16, CelebA 64x64. prt_jax/config.py has every field, with its unit.

Run: python -m prt_jax.main --config=configs/sr16.py
"""

from prt_jax.config import SCALES, VARIANTS, base, finish, get_config

__all__ = ["SCALES", "VARIANTS", "base", "finish", "get_config"]
