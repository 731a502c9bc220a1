"""The only module that knows about devices and processes: it spreads what it is given over them with pmap.

The state is replicated and donated, batches are split along their leading axis [devices, ...].
pmap is the choice of this project; should that change, this is the file to change. (Under
shard_map, pmean(grad(local_loss)) is too large by the number of devices: differentiate the
averaged loss there.)
"""

import functools
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from prt_jax.errors import UserError

AXIS = "batch"
PLATFORMS = ("cpu", "gpu", "tpu")
# An XLA flag: the CPU convolutions of before YNN, Eigen's, which each use all threads.
EIGEN_CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
MOST_MAPPINGS = 20_000


# U-Net width s from which XLA's older CPU convolution (Eigen's), which uses its threads, is faster than YNN's, which
# runs on one. At width 8 the two are equal within the noise (the demo on two cores: 6 to 10 and 8 to 9.5 steps/s).
MIN_WIDTH_FOR_EIGEN = 16


def use_all_cores(width: int) -> None:
  """Chooses XLA's CPU convolutions for nets of this width; call before anything starts JAX.

  The CPU stays one device: for the demo, a device a core was no faster on two cores.

  Nothing changes where JAX has started already, where XLA_FLAGS or JAX_NUM_CPU_DEVICES says how many devices there are
  or XLA_FLAGS which convolutions, or on an accelerator.
  """
  flags = os.environ.get("XLA_FLAGS", "")
  if "xla_force_host_platform_device_count" in flags or "JAX_NUM_CPU_DEVICES" in os.environ or "ynn" in flags:
    return
  # A later XLA may not know the flag, and an unknown one ends the process.
  if width >= MIN_WIDTH_FOR_EIGEN and jax.__version_info__ < (0, 13) and not may_be_an_accelerator():
    os.environ["XLA_FLAGS"] = f"{flags} {EIGEN_CONVOLUTIONS}".strip()


def use_platform(name: str) -> None:
  """Computes on the platform of that name (PLATFORMS) from now on; call before anything starts JAX.

  UserError where there is none.
  """
  before = jax.config.values["jax_platforms"]
  jax.config.update("jax_platforms", name)
  try:
    found = jax.default_backend()
    problem = f"JAX has started on {found} already" if found != name else ""
  except RuntimeError as error:
    problem = f"there is none here that JAX can use ({str(error).partition(chr(10))[0]}): leave the flag out"
  if problem:
    jax.config.update("jax_platforms", before)
    raise UserError(f"--device={name}: {problem}")


def may_be_an_accelerator() -> bool:
  """Whether JAX might find one, without asking it, which would start it: from then on XLA_FLAGS are not read."""
  has_plugin = importlib.util.find_spec("libtpu") or importlib.metadata.entry_points(group="jax_plugins")
  return jax.config.values["jax_platforms"] != "cpu" and bool(has_plugin)


def release_programs() -> None:
  """Lets go of all compiled programs where there are very many: call it before the next picture.

  Linux lets a process map 65,530 pieces of memory (vm.max_map_count), and one that comes to that number ends ("Unable
  to allocate section memory"). What a network needs for one more size of pictures takes 100 of them to restore and 700
  to audit. What is needed again is compiled again.
  """
  maps = pathlib.Path("/proc/self/maps")
  if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPPINGS:
    jax.clear_caches()


def is_primary() -> bool:
  """Whether this process writes what a run leaves behind."""
  return jax.process_index() == 0


def check_single_host(what: str) -> None:
  """UserError in a run over several hosts, which would write the same files."""
  if not is_alone():
    raise UserError(f"{what} runs in one process, over all its devices: start it without --distributed, --coordinator")


def is_alone() -> bool:
  """Whether the run is of this process alone."""
  return jax.process_count() == 1


def has_joined() -> bool:
  """Whether this process has joined others; asking starts nothing."""
  return jax.distributed.is_initialized()


def of_all_processes(value: np.ndarray) -> np.ndarray:
  """Each process's value, [processes, ...]: all of them ask, and wait for one another."""
  return multihost_utils.process_allgather(value)


def backend() -> str:
  """'cpu', 'gpu' or 'tpu': where programs run here."""
  return jax.default_backend()


def num_devices() -> int:
  """All devices of the run, over all processes."""
  return jax.device_count()


def first() -> Any:
  """The first device. RuntimeError where another process holds it."""
  return jax.devices()[0]


def describe() -> str:
  """Number and kind of the run's devices: '4 x NVIDIA H100 80GB HBM3'."""
  return f"{num_devices()} x {first().device_kind}"


def processor() -> str:
  """The CPU's name, as the system has it; its kind where it has none."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return platform.processor() or platform.machine()
  return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def describe_share() -> str:
  """What this process has of the run: 'process 0 of 2, 4 of 8 devices'."""
  process = f"process {jax.process_index()} of {jax.process_count()}"
  return f"{process}, {jax.local_device_count()} of {jax.device_count()} devices"


def ask_processes(flag: bool, after: jax.Array) -> jax.Array:
  """Whether the flag is set in any process: a number that is there once all have asked, and `after` is there.

  after: a scalar of a dispatch, replicated.
  """
  return _largest_flag()(np.full(jax.local_device_count(), flag, np.int32), after)


@functools.cache
def _largest_flag():
  def largest(flag, after):
    return jax.lax.pmax(flag, AXIS) * jnp.ones_like(after)

  return jax.pmap(largest, axis_name=AXIS, in_axes=(0, None), out_axes=None)


def memory_bytes() -> int:
  """What JAX may use of this process's first accelerator's memory; 0 on a CPU."""
  stats = jax.local_devices()[0].memory_stats() if backend() != "cpu" else None
  return (stats or {}).get("bytes_limit", 0)


def check_batch_size(field: str, batch_size: int, count: int | None = None) -> None:
  """UserError unless a batch splits evenly over so many devices; None = all of the run."""
  count = count or jax.device_count()
  if batch_size < 1 or batch_size % count:
    lower = max(1, batch_size // count) * count
    raise UserError(f"{field}={batch_size} does not divide over {count} devices: use a multiple, for example {lower}")


def default_steps_per_dispatch(cycle: int) -> int:
  """One on CPU, where a dispatch costs nothing beside the step; about 30, in whole cycles of so many, elsewhere."""
  return 1 if backend() == "cpu" else max(1, 30 // cycle) * cycle


def local_rows(batch: np.ndarray) -> np.ndarray:
  """This process's part of a global batch: [..., B] -> [local devices, ..., B / devices], in the axis's order.

  That is pmap's: process by process, each one's devices as JAX has them. jax.devices() alone may mix the processes.
  """
  per_device = np.split(batch, jax.device_count(), axis=-1)
  in_order = sorted(jax.devices(), key=lambda device: device.process_index)
  return np.stack([per_device[in_order.index(device)] for device in jax.local_devices()])


def over_devices(step: Callable, devices: Sequence | None = None) -> Callable:
  """A step (state, batch) -> state with the axis AXIS, on all devices: (state, batch [devices,B,...]) -> state.

  devices: None = the run's; those of a slice that is only described (jax.experimental.topologies), to compile for it.
  """
  return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=(0,), devices=devices)


def replicate(state: Any) -> Any:
  """A tree of arrays on every device, laid out as the training step returns it, so that the step compiles once."""
  return _replicate()(np.zeros(jax.local_device_count()), state)


@functools.cache
def _replicate():
  # Made once: pmap of a new function is compiled anew, at every evaluation of a run that trains.
  return jax.pmap(lambda _, state: state, axis_name=AXIS, in_axes=(0, None), out_axes=None)


def make_gather(dataset: np.ndarray) -> Callable[[np.ndarray], jax.Array]:
  """Keeps a whole data set [N,...] in every device's memory; local_rows' indices -> their examples."""
  replicated = jax.pmap(lambda _, data: data, in_axes=(0, None))(np.zeros(jax.local_device_count()), dataset)
  gather = jax.pmap(lambda data, rows: data[rows])
  return lambda rows: gather(replicated, rows)


def to_devices(batch: np.ndarray) -> jax.Array:
  """Copies a local batch [local devices, ...] to its devices, ahead of the step that needs it."""
  return _copy()(batch)


@functools.cache
def _copy():
  # Made once: pmap of a new function is compiled anew, at every batch.
  return jax.pmap(lambda x: x)


def over_examples(function: Callable) -> Callable:
  """function(shared, *examples) on all devices: shared goes to each, examples are [local devices, B / devices, ...]."""
  mapped = functools.cache(functools.partial(map_examples, function))
  return lambda shared, *examples: mapped(len(examples))(shared, *examples)


def map_examples(function: Callable, count: int, devices: Sequence | None = None) -> Callable:
  """over_examples for so many arguments of examples; devices: as in over_devices."""
  return jax.pmap(function, axis_name=AXIS, in_axes=(None,) + (0,) * count, devices=devices)


def gather_examples(tree: Any) -> Any:
  """Outputs of over_examples on the host: [local devices, B / devices, ...] -> [B, ...]."""
  return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), jax.device_get(tree))


def to_host(tree: Any) -> Any:
  """The replicated tree as numpy arrays; typed keys as their uint32 data."""

  def fetch(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

  return jax.device_get(jax.tree.map(fetch, tree))
