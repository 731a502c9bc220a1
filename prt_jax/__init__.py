"""The perception-robustness tradeoff of image restoration, in JAX and Flax."""

__version__ = "0.1.0"
