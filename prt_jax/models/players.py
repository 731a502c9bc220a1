"""What a network of the registry gives the trainer: its two players, and what must be known of them."""

from typing import NamedTuple

from flax import linen as nn
from ml_collections import ConfigDict

from prt_jax.degradations import Degradation
from prt_jax.errors import UserError


class Players(NamedTuple):
  """Attributes:
  generator: module (network input [B, ...], z, train) -> what the degradation projects: images [B,H,W,3] or, of a
    point, its second coordinate [B,1]. One that also has `stem(input, train)` and `complete(features, z, train)`, whose
    composition it is, computes the stem once for all draws of z.
  critic: module (images [B,H,W,3] or points [B,2]) -> logits [B].
  noise_shapes: the shapes of one example's Z, one at least; a net that takes no noise ignores it.
  seeds_at_once_on_cpu: what attack.seeds_at_once=0 means on a CPU; 0 = all draws.

  Example:
    >>> from prt_jax.models import MLPCritic, MLPGenerator
    >>> players = Players(MLPGenerator(width=8), MLPCritic(width=8), noise_shapes=((1,),))
    >>> players.noise_shapes
    ((1,),)
  """

  generator: nn.Module
  critic: nn.Module
  noise_shapes: tuple[tuple[int, ...], ...]
  seeds_at_once_on_cpu: int = 0


def check_restores(config: ConfigDict, degradation: Degradation, what: str) -> None:
  """UserError unless the degradation is of `what` the network restores: 'images' or 'points'."""
  found = "images" if len(degradation.image_shape) == 3 else "points"
  if found != what:
    raise UserError(
      f"model.kind={config.model.kind!r} does not fit degradation.kind={config.degradation.kind!r}: "
      f"it restores {what}, no {found}"
    )
