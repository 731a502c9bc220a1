"""The restorers that --restorer can name."""

import functools
import os

import jax
import jax.numpy as jnp

from prt_jax.degradations.bicubic import reduction_norm
from prt_jax.errors import UserError
from prt_jax.randomness import sample_noise
from prt_jax.restorers.bicubic import BICUBIC, bicubic_downsample
from prt_jax.restorers.networks.architecture import Architecture, StateDict, load_params, mismatch
from prt_jax.restorers.networks.carn import CARN_M
from prt_jax.restorers.networks.compact import COMPACT
from prt_jax.restorers.networks.edsr import EDSR
from prt_jax.restorers.networks.imdn import IMDN
from prt_jax.restorers.networks.pan import PAN
from prt_jax.restorers.networks.rrdbnet import RRDBNET
from prt_jax.restorers.networks.srflow import SRFLOW
from prt_jax.restorers.networks.srresnet import SRRESNET
from prt_jax.restorers.restorer import FunctionDegradation, Restorer

# A network that is known by the name of its training as well has both.
ARCHITECTURES: dict[str, Architecture] = {
  "bicubic": BICUBIC,
  "srresnet": SRRESNET,
  "srgan": SRRESNET,
  "imdn": IMDN,
  "carn_m": CARN_M,
  "carn": CARN_M,
  "pan": PAN,
  "compact": COMPACT,
  "rrdbnet": RRDBNET,
  "esrgan": RRDBNET,
  "edsr": EDSR,
  "srflow": SRFLOW,
}


def recognise(state: StateDict) -> str:
  """The flags that load a state dict as one of ARCHITECTURES, "--restorer=imdn --scale=4"; "" where it is none."""
  for name, architecture in ARCHITECTURES.items():
    for scale in architecture.scales if architecture is not BICUBIC else ():
      if not mismatch(architecture, state, scale):
        return f"--restorer={name} --scale={scale}"
  return ""


def load_network(
  name: str, checkpoint: str | os.PathLike | None, scale: int, key: str | None = None, res_scale: float | None = None
) -> Restorer:
  """A published network with a checkpoint's weights.

  Args:
    name: one of ARCHITECTURES.
    checkpoint: a file of torch.save, read without executing it; None for bicubic, which has no weights.
    scale: magnification.
    key: which state dict of the file, where it holds several.
    res_scale: factor of the residual branches of an edsr, which no checkpoint holds; None: that of the releases.

  Raises:
    UserError: no such network, a missing or superfluous checkpoint, one of another network.

  Example:
    >>> restorer = load_network("bicubic", None, scale=4)
    >>> print(restorer.restore(jnp.zeros((1, 4, 4, 3)), None).shape)
    (1, 16, 16, 3)
  """
  architecture = ARCHITECTURES[name]
  if res_scale is not None and architecture is not EDSR:
    raise UserError(f"--res_scale is for edsr: leave it out with --restorer={name}")
  if architecture is BICUBIC:
    if checkpoint:
      raise UserError("bicubic has no weights: leave --checkpoint out")
    params = {}
  elif not checkpoint:
    raise UserError(f"{architecture.title} needs weights: pass --checkpoint=FILE, as torch.save wrote it")
  else:
    params = load_params(architecture, checkpoint, scale, key)
  if res_scale is not None:
    params = params | {"res_scale": jnp.float32(res_scale)}
  note, noise_shapes = architecture.note(params), architecture.noise_shapes or (lambda _: ())

  def draw_noise(keys, measurement_shape, num_seeds):
    z = sample_noise(keys, noise_shapes(measurement_shape), num_seeds)
    return jax.tree.map(lambda noise: architecture.noise_std * noise, z)

  def apply(params, y, z):
    return architecture.apply(params, y, z, scale)

  return Restorer(
    name=f"{architecture.title} ({note})" if note else architecture.title,
    apply=apply,
    params=params,
    draw_noise=draw_noise if architecture.noise_shapes else None,
    degradation=FunctionDegradation(
      functools.partial(bicubic_downsample, factor=scale), reduction_norm(bicubic_downsample, scale)
    ),
    multiple=architecture.multiple,
    scale=scale,
    identity=f"{name} x{scale}",
  )
