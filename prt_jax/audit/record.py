"""How a report was made: what somebody else needs to know before they compare its numbers with theirs."""

import argparse
import hashlib
import pathlib
import statistics
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax import __version__, devices
from prt_jax.data.image_pairs import Pair
from prt_jax.io.file_digests import sha256_of
from prt_jax.io.pictures import eight_bits
from prt_jax.precision import in_float32
from prt_jax.restorers.restorer import Restorer

_CALLS = 5


def record(arguments: argparse.Namespace, restorer: Restorer, pairs: Sequence[Pair]) -> dict:
  """Of an audit's command line, JSON-able: no folder of this machine is in it.

  Args:
    arguments: commands.restorer_flags'.
    restorer: what is audited.
    pairs: the images that it is audited on.

  Returns:
    {"restorer": --restorer, without folders, "weights": {"file", "sha256"} of --checkpoint or None, "mask": likewise of
    --mask, where it is given, "set": the input's folder or "the run's own images", "images_sha256": of the originals in
    8 bits, in order (None where there are none), "degradation", "scale", "crop": --crop, of common the (rows, columns)
    that it came to, "version": of this package, "hardware": {"processor", "device"}}.
  """
  originals = [pair.x for pair in pairs if pair.x is not None]
  return {
    "restorer": pathlib.Path(arguments.restorer).name,
    "weights": _file(arguments.checkpoint),
    **({"mask": _file(arguments.mask)} if arguments.mask else {}),
    "set": pathlib.Path(arguments.input).expanduser().resolve().name if arguments.input else "the run's own images",
    "images_sha256": images_digest(originals) if originals else None,
    "degradation": arguments.degradation or ("own" if restorer.image_size else arguments.default_degradation),
    "scale": restorer.scale or arguments.scale or None,
    "crop": arguments.crop if isinstance(arguments.crop, int) else _window(pairs[0]),
    "version": __version__,
    "hardware": {"processor": devices.processor(), "device": devices.describe()},
  }


def _window(pair):
  image = pair.y if pair.x is None else pair.x
  return list(image.shape[:2])


def _file(name):
  path = pathlib.Path(name or "").expanduser()
  if not path.is_file():  # there is none, or it names a checkpoint of a workdir
    return None
  return {"file": path.name, "sha256": sha256_of(path)}


def images_digest(images: Sequence[np.ndarray]) -> str:
  """SHA-256 of images [H,W,3] in [0, 1], as 8 bits, and of their shapes."""
  digest = hashlib.sha256()
  for image in images:
    digest.update(f"{image.shape}".encode())
    digest.update(np.ascontiguousarray(eight_bits(image)).data)
  return digest.hexdigest()


@in_float32
def seconds_an_image(restorer: Restorer, y: np.ndarray) -> float:
  """Wall-clock seconds of one restoration of a measurement [h,w,3]: the median of five calls after a first one."""
  apply = jax.jit(restorer.apply) if restorer.traceable else restorer.apply
  z = jax.tree.map(lambda leaf: leaf[0], restorer.draws(np.zeros(1, int), [0], y.shape))
  measurement, seconds = jnp.asarray(y[None]), []
  for _ in range(1 + _CALLS):
    start = time.perf_counter()
    jax.block_until_ready(apply(restorer.params, measurement, z))
    seconds.append(time.perf_counter() - start)
  return statistics.median(seconds[1:])
