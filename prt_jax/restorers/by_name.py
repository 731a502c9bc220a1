"""Restorers that a command names: a published network, a file by spandrel, a workdir, or package.module:function."""

import os
import pathlib

import numpy as np

from prt_jax.errors import UserError
from prt_jax.importing import import_function
from prt_jax.restorers.registry import ARCHITECTURES, load_network
from prt_jax.restorers.restorer import Restorer, as_restorer

DEFAULT_SCALE = 4  # of networks whose file does not say it


def load_restorer(
  name: str, *, checkpoint: str | os.PathLike | None = None, scale: int | None = None, key: str | None = None,
  res_scale: float | None = None, device: str | None = None, mask: np.ndarray | None = None,
) -> Restorer:
  """The restorer that --restorer=NAME means.

  Args:
    name: a key of ARCHITECTURES; spandrel; a folder that a training run left (its workdir); or package.module:function,
      which is imported and must be a function of y, a Restorer or a PyTorch module.
    checkpoint, key: weights of a published network, or a file for spandrel, see registry.load_network; of a workdir the
      step, or "best" (None: the newest).
    scale: magnification of a published network; None: DEFAULT_SCALE. spandrel reads it off the file.
    res_scale: of an edsr; see registry.load_network.
    device: PyTorch's, of what spandrel loads: "cpu" or "cuda".
    mask: [H,W], 1 where a network of inpainting by spandrel fills pixels, else 0.

  Raises:
    UserError: none of these, or one that does not load.

  Example (`workdir` is what prt_jax.train left):
    >>> restorer = prt_jax.load_restorer(workdir)
    >>> restorer.name, restorer.stochastic, restorer.image_size
    ('run (step 8)', True, 32)
  """
  if mask is not None and name != "spandrel":
    raise UserError(f"--mask is for networks of inpainting by spandrel: leave it out with --restorer={name}")
  if name in ARCHITECTURES:
    return load_network(name, checkpoint, DEFAULT_SCALE if scale is None else scale, key, res_scale)
  if res_scale is not None:
    raise UserError(f"--res_scale is for edsr: leave it out with --restorer={name}")
  if name == "spandrel":
    from prt_jax.restorers.spandrel_networks import load_spandrel

    restorer = load_spandrel(checkpoint, key, device, mask)
    if scale not in (None, restorer.scale):
      raise UserError(f"--scale={scale}: {checkpoint} holds {restorer.name}: leave --scale out")
    return restorer
  if pathlib.Path(name).expanduser().is_dir():
    from prt_jax.restorers.from_run import load_run  # and with it all that trains

    return load_run(name, _step(str(checkpoint or "0"))).restorer()
  if checkpoint:
    known = ", ".join(ARCHITECTURES)
    raise UserError(f"--checkpoint is for {known}, spandrel and workdirs: leave it out with --restorer={name}")
  if ":" in name:
    return as_restorer(import_function(name), name=name)
  raise UserError(
    f"--restorer={name} is none of {', '.join(ARCHITECTURES)}, spandrel, no workdir of a training run, "
    "and no package.module:function; --restorer=help says what each needs"
  )


def _step(checkpoint):
  """Which checkpoint of a workdir: a step, or best."""
  if checkpoint == "best":
    return checkpoint
  if not checkpoint.isascii() or not checkpoint.isdigit():
    raise UserError(f"--checkpoint={checkpoint}: of a workdir give a step (3000), or best; without the flag the newest")
  return int(checkpoint)


def describe_restorers() -> str:
  """What --restorer=help prints: what is known, and what each needs."""
  names = {}
  for name, architecture in ARCHITECTURES.items():
    names.setdefault(architecture, []).append(name)
  rows = [
    (", ".join(own), f"{architecture.title}, {' '.join(f'x{scale}' for scale in architecture.scales)}: "
     + ("needs nothing" if architecture.title == "bicubic" else "--checkpoint=FILE --scale=N"))
    for architecture, own in names.items()
  ]  # fmt: skip
  rows += [
    ("spandrel", "whatever spandrel recognises, scale and channels read from the file: --checkpoint=FILE, for "
     "inpainting --mask=FILE too, and pip install 'prt_jax[spandrel]'"),
    ("a workdir", "a training run of prt_jax, runs/sr16-stochastic-robust, say; --checkpoint=STEP or best; the newest"),
    ("package.module:NAME", "a function of y [B,h,w,3] in JAX, a Restorer, or a PyTorch module (deepinv's, "
     "transformers', diffusers', your own); docs/restorers.md has examples"),
  ]  # fmt: skip
  width = max(len(name) for name, _ in rows)
  return "\n".join(["--restorer=", *(f"  {name:<{width}}  {what}" for name, what in rows)])
