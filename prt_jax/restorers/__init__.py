"""Published restorers in JAX with their authors' PyTorch checkpoints, and adapters for restorers of your own."""

from prt_jax.restorers.registry import ARCHITECTURES, load_network
from prt_jax.restorers.restorer import Restorer

__all__ = ["ARCHITECTURES", "Restorer", "load_network"]
