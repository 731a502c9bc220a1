"""Feeds the training step: the images of any step, a pure function of (seed, step), made ahead of time."""

import collections
import concurrent.futures
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from prt_jax import devices
from prt_jax.data import batch_indices
from prt_jax.errors import UserError

DEVICE_MEMORY_SHARE = 0.3  # of an accelerator's memory that `auto` may fill with the data set
AHEAD = 2  # dispatches whose images are read ahead of the one that runs


def choose_placement(placement: str, num_bytes: int, memory_bytes: int | None = None) -> str:
  """Resolves data.placement; 'auto' keeps the set on an accelerator where it fits well.

  Args:
    placement: device, host or auto.
    num_bytes: of the data set.
    memory_bytes: of a device; None: what JAX may use of the first one here, 0 for a CPU.

  Raises:
    UserError: placement is none of device, host, auto.
  """
  if placement not in ("device", "host", "auto"):
    raise UserError(f"data.placement={placement!r} is unknown: choose device, host or auto")
  if placement != "auto":
    return placement
  if memory_bytes is None:
    memory_bytes = devices.memory_bytes()
  return "device" if num_bytes <= DEVICE_MEMORY_SHARE * memory_bytes else "host"


class Fetch(NamedTuple):
  """How images come to the devices, in two parts: only the thread that runs the training step may use the second.

  A program that a second thread dispatches to several devices can reach one of them before the step and another one
  after it; on CPU devices the step's all-reduce then waits for ever.

  Attributes:
    read: local_rows' indices -> what place needs, on the host.
    place: that -> the images [local devices, ..., H, W, 3] uint8 on the devices.
  """

  read: Callable[[np.ndarray], np.ndarray]
  place: Callable[[np.ndarray], jax.Array]


def make_fetch(dataset: np.ndarray, placement: str) -> Fetch:
  """The two parts for a data set [N,H,W,3] that is kept as data.placement says."""
  if choose_placement(placement, dataset.nbytes) == "device":
    return Fetch(lambda rows: rows, devices.make_gather(np.asarray(dataset)))
  return Fetch(lambda rows: dataset[rows], devices.to_devices)


def batches(
  fetch: Fetch,
  dispatches: Iterator[tuple[int, int]],
  *,
  seed: int,
  batch_size: int,
  num_examples: int,
) -> Iterator[jax.Array]:
  """The images of each dispatch, read by a thread while earlier ones run.

  Args:
    fetch: see make_fetch.
    dispatches: (first step, number of steps) of each device call, in order.
    seed: of the sampler.
    batch_size: of the global batch.
    num_examples: rows of the data set.

  Yields:
    uint8 images on the devices: [devices,B,H,W,3] for a dispatch of one step, [devices,n,B,H,W,3] for n.
  """

  def read(first, count):
    rows = [batch_indices(seed, step, batch_size, num_examples) for step in range(first, first + count)]
    return fetch.read(devices.local_rows(rows[0] if count == 1 else np.stack(rows)))

  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    waiting = collections.deque()
    for dispatch in dispatches:
      waiting.append(pool.submit(read, *dispatch))
      if len(waiting) > AHEAD:
        yield fetch.place(waiting.popleft().result())
    while waiting:
      yield fetch.place(waiting.popleft().result())
