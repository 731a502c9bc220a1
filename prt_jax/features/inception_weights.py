"""The official weights of the FID InceptionV3: found or downloaded, verified, and read without executing them."""

import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from prt_jax.errors import UserError
from prt_jax.features.inception import NUM_CLASSES, NUM_FEATURES, conv_shapes
from prt_jax.io.file_digests import sha256_of
from prt_jax.io.weight_files.stored_tensor import read_all
from prt_jax.io.weight_files.torch_checkpoint import open_state_dict

FILE_NAME = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE_NAME}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
NUM_BYTES = 95_628_359
_BATCH_NORM_EPSILON = 1e-3
_TIMEOUT = 60  # seconds without an answer


class InceptionWeights(NamedTuple):
  """Parameters, and whether they are the official ones, without which nothing is FID.

  params: dict layer -> {"kernel": [H, W, I, O], "bias": [O]}, float32; batch normalisation is
    folded in. "fc" has [2048, 1008].
  """

  params: dict
  official: bool


def load_inception(path: str | os.PathLike, cache_dir: Path) -> InceptionWeights:
  """The weights at `path`, or the official ones from the cache or the network.

  Args:
    path: a state dict under the official names; "" = the official file, kept in
      `cache_dir`/weights and downloaded there once. A file whose name carries the official
      checksum's beginning (6726825d) must have that checksum; one of another name may hold
      other weights of the network, which are then not called FID.
    cache_dir: folder for the download; made if needed.

  Raises:
    UserError: no file and no network, a wrong checksum, a truncated file, weights of another
      network (names the first tensor that is missing, left over or of another shape), NaN or infinite ones.
  """
  path = Path(path).expanduser() if path else _cached(cached_path(cache_dir))
  if not path.is_file():
    raise UserError(f"{path} does not exist: set eval.feature_weights to {FILE_NAME} (from {URL}), or leave it empty")
  digest = sha256_of(path)
  if SHA256[:8] in path.name and digest != SHA256:
    raise UserError(
      f"{path} has the checksum {digest[:8]}.. instead of {SHA256[:8]}..: it is truncated or changed; "
      f"delete it and get it again from {URL}"
    )
  with open_state_dict(path) as tensors:
    check_shapes(tensors, path)
    state_dict = read_all({name: tensor for name, tensor in tensors.items() if not _is_counter(name)}, path)
  return InceptionWeights(convert_state_dict(state_dict, path), digest == SHA256)


def cached_path(cache_dir: Path) -> Path:
  """Where the official file is kept once it is downloaded."""
  return Path(cache_dir).expanduser() / "weights" / FILE_NAME


def convert_state_dict(state_dict: Mapping[str, np.ndarray], source: object) -> dict:
  """Parameters of `inception_features` from a state dict name -> array under the official names.

  Kernels go from [O, I, H, W] to [H, W, I, O] and batch normalisation (in float64) into kernel
  and bias. `source` is the file's name for the UserError, which names the first tensor that
  does not fit.
  """
  check_shapes(state_dict, source)
  shapes, _ = conv_shapes()
  params = {"fc": {"kernel": jnp.asarray(state_dict["fc.weight"].T), "bias": jnp.asarray(state_dict["fc.bias"])}}
  for name in shapes:
    part = {key: np.asarray(state_dict[f"{name}.bn.{key}"], np.float64) for key in ("weight", "bias")}
    mean, variance = (np.asarray(state_dict[f"{name}.bn.running_{key}"], np.float64) for key in ("mean", "var"))
    scale = part["weight"] / np.sqrt(variance + _BATCH_NORM_EPSILON)
    kernel = state_dict[f"{name}.conv.weight"].transpose(2, 3, 1, 0) * scale
    params[name] = {
      "kernel": jnp.asarray(kernel, jnp.float32),
      "bias": jnp.asarray(part["bias"] - mean * scale, jnp.float32),
    }
  return params


def check_shapes(state_dict: Mapping[str, Any], source: object) -> None:
  """UserError unless a state dict, read or not, holds the tensors of the network and no others."""
  expected = {"fc.weight": (NUM_CLASSES, NUM_FEATURES), "fc.bias": (NUM_CLASSES,)}
  for name, (height, width, inputs, outputs) in conv_shapes()[0].items():
    expected[f"{name}.conv.weight"] = (outputs, inputs, height, width)
    expected |= {f"{name}.bn.{part}": (outputs,) for part in ("weight", "bias", "running_mean", "running_var")}
  given = {name: array.shape for name, array in state_dict.items() if not _is_counter(name)}
  hint = f"these are weights of another network; set eval.feature_weights to {FILE_NAME}"
  # In the file's order, so that the first difference a reader would see is the one named.
  for name, shape in given.items():
    if name not in expected:
      raise UserError(f"{source} holds a tensor {name} that the FID InceptionV3 does not have: {hint}")
    if shape != expected[name]:
      raise UserError(f"{source} holds {name} of shape {shape}, the FID InceptionV3 has {expected[name]}: {hint}")
  for name in expected:
    if name not in given:
      raise UserError(f"{source} lacks {name} of the FID InceptionV3: {hint}")


def _is_counter(name):
  return name.endswith("num_batches_tracked")


def _cached(target):
  """`target`, downloaded if it is not there; complete and verified, or not there at all."""
  if target.is_file():
    return target
  remedy = f"download {URL} on a machine with network and set eval.feature_weights to the file"
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may download at once: each into a file of its own, the last rename wins.
    descriptor, part = tempfile.mkstemp(dir=target.parent, prefix=f"{FILE_NAME}.", suffix=".part")
  except OSError as error:
    raise UserError(f"{target.parent} cannot be written ({error.strerror or error}): set data.cache_dir") from None
  try:
    with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(URL, timeout=_TIMEOUT) as response:
      while block := response.read(1 << 20):
        file.write(block)
    digest = sha256_of(part)
    if digest != SHA256:
      raise UserError(f"the download of {FILE_NAME} has a wrong checksum ({digest[:8]}..): try again, or {remedy}")
    os.replace(part, target)
  except (OSError, urllib.error.URLError) as error:
    reason = getattr(error, "reason", None) or error
    raise UserError(f"the InceptionV3 weights for FID cannot be downloaded ({reason}): {remedy}") from None
  finally:
    Path(part).unlink(missing_ok=True)
  return target
