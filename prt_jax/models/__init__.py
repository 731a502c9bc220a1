"""The networks: flax.linen modules with pure init and apply."""

from prt_jax.models.critic import Critic
from prt_jax.models.mlp import MLP, MLPCritic, MLPGenerator
from prt_jax.models.networks import NETWORKS
from prt_jax.models.players import Players
from prt_jax.models.unet import UNet

__all__ = ["MLP", "NETWORKS", "Critic", "MLPCritic", "MLPGenerator", "Players", "UNet"]
