"""The perception-robustness tradeoff of image restoration, in JAX and Flax."""
