"""SqueezeNet 1.1 (Iandola et al. 2016, revision 1.1), a light feature extractor. Its distances are not FID."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp

from prt_jax.errors import UserError
from prt_jax.io.weight_files.npz import open_npz
from prt_jax.io.weight_files.stored_tensor import read_all

Params = dict[str, dict[str, jax.Array]]  # layer -> {"kernel", "bias"}
NUM_FEATURES = 512
MIN_SIZE = 31  # pixels; below, the last pool has no window
_BGR_MEANS = (103.939, 116.779, 123.68)  # of ImageNet, 0 .. 255: what the weights were trained with
_FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}
_POOL_BEFORE_FIRE = (2, 4, 6)
TAPS = (64, 128, 256, 384, 384, 512, 512)  # channels of `squeezenet_taps`


def load_squeezenet(path: str | os.PathLike) -> Params:
  """Parameters from an .npz with, for each layer, a kernel [H, W, I, O] and a bias [O].

  An array belongs to the layer ("conv1", "fire2/squeeze1x1", "fire2/expand1x1", ..) that its
  name begins with, as in the `squeezenet_notop` weights of keras-squeezenet. Those expect BGR
  minus ImageNet's means. Read with allow_pickle=False: nothing is executed.

  Returns:
    dict layer -> {"kernel", "bias"}, float32.

  Raises:
    UserError: no path, a missing, truncated or foreign file, or weights of another network
      (names the first layer that does not fit), or weights that are NaN or infinite.
  """
  if not str(path):
    raise UserError(
      "the squeezenet features need eval.feature_weights: an .npz of SqueezeNet 1.1 kernels and biases "
      "(keras-squeezenet's squeezenet_notop)"
    )
  path = Path(path).expanduser()
  with open_npz(path) as arrays:
    chosen = {}
    for layer, shape in _kernel_shapes().items():
      mine = {name: array for name, array in arrays.items() if name.startswith(f"{layer}/")}
      kernel = [name for name, array in mine.items() if array.ndim == 4]
      bias = [name for name, array in mine.items() if array.ndim == 1]
      if [mine[name].shape for name in kernel + bias] != [shape, shape[-1:]]:
        found = ", ".join(str(array.shape) for array in mine.values())[:200] or "nothing"
        raise UserError(
          f"{path} is not SqueezeNet 1.1: {layer} should hold a kernel {shape} and a bias {shape[-1:]}, "
          f"it holds {found}"
        )
      chosen[layer] = {"kernel": kernel[0], "bias": bias[0]}
    values = read_all({name: arrays[name] for names in chosen.values() for name in names.values()}, path)
  return {
    layer: {part: jnp.asarray(values[name], jnp.float32) for part, name in names.items()}
    for layer, names in chosen.items()
  }


def squeezenet_features(params: Params, images: jax.Array) -> jax.Array:
  """Global average of the last fire module.

  Args:
    params: from `load_squeezenet`.
    images: [B, H, W, 3] RGB, uint8 or floats with uint8's values; at least 31x31, used at their
      own size.

  Returns:
    [B, 512] float32, >= 0.
  """
  return jnp.mean(squeezenet_taps(params, images)[-1], axis=(1, 2))


def squeezenet_taps(params: Params, images: jax.Array) -> list[jax.Array]:
  """The seven activations that LPIPS compares: after conv1 and fires 3, 5, 6, 7, 8, 9; each [B, h, w, TAPS[i]]."""
  if min(images.shape[1:3]) < MIN_SIZE:
    raise UserError(
      f"squeezenet features need images of at least {MIN_SIZE}x{MIN_SIZE} pixels, got {images.shape[1:3]}: "
      "set eval.feature_extractor=pixels"
    )
  x = jnp.asarray(images, jnp.float32)[..., ::-1] - jnp.asarray(_BGR_MEANS)
  x = _conv(params["conv1"], x, stride=2, padding="VALID")
  taps = [x]
  for fire in _FIRES:
    if fire in _POOL_BEFORE_FIRE:
      x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
    x = _conv(params[f"fire{fire}/squeeze1x1"], x)
    x = jnp.concatenate([_conv(params[f"fire{fire}/expand{side}x{side}"], x) for side in (1, 3)], axis=-1)
    if fire not in (2, 4):
      taps.append(x)
  return taps


def _conv(layer, x, stride=1, padding="SAME"):
  x = jax.lax.conv_general_dilated(
    x,
    layer["kernel"],
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    precision=jax.lax.Precision.HIGHEST,
  )
  return jax.nn.relu(x + layer["bias"])


def _kernel_shapes():
  shapes = {"conv1": (3, 3, 3, 64)}
  channels = 64
  for fire, (squeeze, expand) in _FIRES.items():
    shapes[f"fire{fire}/squeeze1x1"] = (1, 1, channels, squeeze)
    shapes[f"fire{fire}/expand1x1"] = (1, 1, squeeze, expand)
    shapes[f"fire{fire}/expand3x3"] = (3, 3, squeeze, expand)
    channels = 2 * expand
  return shapes
