"""A training state as the tree that a checkpoint holds, also where the two measure other scalars."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization

from prt_jax.devices import to_host
from prt_jax.training.state import TrainState

_UNMEASURED = {"0": np.zeros((), np.float32), "1": np.zeros((), np.float32)}  # an interval's (sum, count)


def as_tree(state: TrainState) -> dict:
  """The state on the host, its key left out, as nested dicts."""
  return serialization.to_state_dict(to_host(state.replace(key=None)))


def tree_to_read(template: TrainState, path: pathlib.Path) -> dict:
  """as_tree of a template, with the interval's scalars of the checkpoint at path in the place of its own.

  What a step measures grows from version to version; a checkpoint has the scalars of the version that wrote it.
  """
  handler: Any = ocp.StandardCheckpointHandler()  # it says that it wants a path of another library
  found = handler.metadata(path.absolute())
  found, tree = getattr(found, "tree", found), as_tree(template)
  return tree | {"interval": {name: dict(_UNMEASURED) for name in found["interval"]}}


def from_tree(template: TrainState, tree: Mapping) -> TrainState:
  """The state of a tree that was read, its scalars and key those of template: what it did not measure has count 0."""
  tree = jax.tree.map(np.asarray, dict(tree))
  interval = {name: tree["interval"].get(name, dict(_UNMEASURED)) for name in template.interval}
  state: Any = serialization.from_state_dict(template.replace(key=None), {**tree, "interval": interval})
  return state.replace(key=template.key)
