"""The networks, by the value of model.kind.

A network is a function of players.Players,
  players(config, degradation, *, axis_name, platform, dtype) -> Players,
where axis_name is the device axis that training statistics are averaged over, or None, platform 'cpu', 'gpu' or 'tpu'
(None: JAX's own) and dtype what to compute in. It raises UserError for fields that cannot work.
To add one, write a file with such a function and name it here.
"""

from prt_jax.models import mlp, unet

NETWORKS = {"unet": unet.players, "mlp": mlp.players}
