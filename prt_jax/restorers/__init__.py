"""Published restorers in JAX with their authors' PyTorch checkpoints, and adapters for restorers of your own."""

from prt_jax.restorers.registry import ARCHITECTURES, load_network
from prt_jax.restorers.restorer import Restorer, as_restorer, per_channel

__all__ = ["ARCHITECTURES", "Restorer", "as_restorer", "load_network", "per_channel"]
