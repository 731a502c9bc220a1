"""A small classifier of faces, to be steered through a restorer: UTKFace's file names say what it learns."""

import csv
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from flax import linen as nn
from flax import serialization

from prt_jax.errors import UserError
from prt_jax.io.whole_files import write_whole
from prt_jax.models.layers import average_pool

CLASSES = 2
EPOCHS = 6
BATCH_SIZE = 64
LEARNING_RATE = 1e-3  # Adam's, falling to 0 by a half cosine
SEED = 0


class FaceClassifier(nn.Module):
  """Images [B,H,W,3] in [0, 1] -> logits [B, CLASSES]: four convolutions, pools between them, a dense layer."""

  width: int = 16

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = 2 * x - 1
    for level in range(4):
      # Pools, not strides, whose gradient is slow on a CPU.
      x = nn.relu(nn.Conv(self.width * 2 ** min(level, 2), (3, 3))(average_pool(x) if level else x))
    return nn.Dense(CLASSES)(x.reshape(len(x), -1))


def read_labels(path: pathlib.Path, counts: dict[str, int]) -> dict[str, np.ndarray]:
  """{"train", "val": labels [N] 0 or 1} of labels.csv (file,age,gender), in the order of the files' names.

  Args:
    path: of the file; its names are SPLIT/NAME.
    counts: of the images of each split.

  Raises:
    UserError: no such file, or other counts: the labels would belong to other images.
  """
  try:
    with path.open(newline="") as file:
      rows = sorted((row["file"], int(row["gender"])) for row in csv.DictReader(file))
  except (OSError, KeyError, ValueError) as error:
    raise UserError(f"{path} cannot be read ({error}): it needs columns file, age and gender") from None
  labels = {split: np.array([own for name, own in rows if name.startswith(f"{split}/")]) for split in counts}
  if found := {split: len(own) for split, own in labels.items() if len(own) != counts[split]}:
    raise UserError(f"{path} has {found} labels for {counts} images: a label belongs to each image")
  return labels


def train_classifier(images: np.ndarray, labels: np.ndarray, path: pathlib.Path, epochs: int = EPOCHS) -> Any:
  """The classifier's parameters, from path where they are there already.

  images: uint8 [N,H,W,3]; half of each batch is mirrored. labels: [N].
  """
  network = FaceClassifier()
  params = network.init(jax.random.key(SEED), jnp.zeros((1, *images.shape[1:])))
  if path.exists():
    return serialization.from_bytes(params, path.read_bytes())
  num_steps = epochs * len(images) // BATCH_SIZE
  adam = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, num_steps))

  @jax.jit
  def step(params, optimizer, x, label):
    def loss(params):
      return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(network.apply(params, x), label))

    value, gradient = jax.value_and_grad(loss)(params)
    updates, optimizer = adam.update(gradient, optimizer)
    return optax.apply_updates(params, updates), optimizer, value

  optimizer, losses = adam.init(params), []
  for number in range(num_steps):
    rng = np.random.default_rng([SEED, number])
    rows = rng.integers(len(images), size=BATCH_SIZE)
    x = images[rows].astype(np.float32) / 255
    x[: BATCH_SIZE // 2] = x[: BATCH_SIZE // 2, :, ::-1]
    params, optimizer, value = step(params, optimizer, x, labels[rows])
    losses.append(value)
    if (number + 1) % 200 == 0:
      logging.info("classifier: step %d of %d, loss %.3f", number + 1, num_steps, float(np.mean(losses[-200:])))
  write_whole(path, serialization.to_bytes(params))
  return params


def make_classify(params: Any) -> Callable[[jax.Array], jax.Array]:
  """images -> logits, what decision_attack takes."""
  network = FaceClassifier()
  return jax.tree_util.Partial(lambda params, x: network.apply(params, x), params)


def decide(classify: Callable, images: np.ndarray | jax.Array, batch_size: int = 256) -> np.ndarray:
  """The class of each image [N,H,W,3] in [0, 1]: [N]."""
  classify = jax.jit(classify)
  parts = [classify(jnp.asarray(images[i : i + batch_size])) for i in range(0, len(images), batch_size)]
  return np.argmax(np.concatenate(parts), -1)
