"""The compilers of accelerators, on a machine without one: TPU's and GPU's, for chips that are only described.

python -m benchmarks.compilers tpu     # what `pip install --target=.venv/libtpu --no-deps` needs for this JAX
python -m benchmarks.compilers gpu     # the same for .venv/cuda, with its dependencies

They live in folders of their own beside the environment's packages and are found only here: with libtpu or CUDA's
plugin among its packages, JAX would look for a chip at every start, and training would take the machine for a TPU's.
"""

import importlib.metadata
import importlib.util
import os
import pathlib
import re
import sys

from prt_jax.commands.parser import Parser, run
from prt_jax.errors import UserError
from prt_jax.targets import Target

ENVIRONMENT = pathlib.Path(__file__).resolve().parents[1] / ".venv"
FOLDERS = {"tpu": ENVIRONMENT / "libtpu", "gpu": ENVIRONMENT / "cuda"}
_MODULES = {"tpu": "libtpu", "gpu": "jax_plugins.xla_cuda13"}
_INSTALL = {"tpu": "make compiled", "gpu": "make compiled-gpu"}
_VARIABLES = {
  "tpu": {
    "TPU_SKIP_MDS_QUERY": "1",  # there is no cloud to ask which chips this machine has
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # or two programs could not be compiled at once
  },
  "gpu": {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"},
}
# There is no card to try kernels on.
_GPU_FLAGS = "--xla_gpu_autotune_level=0"
# What CUDA lets a block of threads have, on every card here.
_GPU_LIMITS = """
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
"""
_HOPPER = f"""{_GPU_LIMITS}
  core_count: 132 fpus_per_core: 128 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  l2_cache_size: 52428800 cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
"""
_AMPERE = f"""{_GPU_LIMITS}
  core_count: 108 fpus_per_core: 64 shared_memory_per_core: 167936 shared_memory_per_block_optin: 166912
  l2_cache_size: 41943040 cuda_compute_capability {{ major: 8 }}
"""
_GPUS = {"h100": _HOPPER, "h200": _HOPPER, "a100": _AMPERE}


# A part of what JAX calls each target's device.
_DEVICE_KINDS = {
  "tpu-v5e": "TPU v5 lite",
  "tpu-v6e": "TPU v6 lite",
  "tpu-v5p": "TPU v5p",
  "h100": "H100",
  "h200": "H200",
  "a100": "A100",
}


def requirement(kind: str) -> str:
  """The package that the installed JAX names for its extra 'tpu' or 'cuda13', with its versions."""
  extra = {"tpu": "tpu", "gpu": "cuda13"}[kind]
  package = {"tpu": "libtpu", "gpu": "jax-cuda13-plugin"}[kind]
  for line in importlib.metadata.requires("jax") or []:
    wanted, _, marker = line.partition(";")
    if re.match(rf"{package}\b", wanted) and re.search(rf"extra == ['\"]{extra}['\"]", marker):
      return wanted.strip()
  raise UserError(f"this JAX ({importlib.metadata.version('jax')}) names no {package} for its extra {extra!r}")


def prepare(kind: str) -> None:
  """Makes JAX find the compiler for chips of a kind, 'tpu' or 'gpu'; call before JAX is imported.

  Raises:
    UserError: the compiler is not installed.
  """
  # From here on, in this process alone; one of the environment's own packages comes first.
  sys.path.append(str(FOLDERS[kind]))
  try:
    found = importlib.util.find_spec(_MODULES[kind])
  except ModuleNotFoundError:
    found = None
  if not found:
    raise UserError(
      f"no compiler for a {kind.upper()} here: `{_INSTALL[kind]}` installs it (python -m pip install "
      f"--target={FOLDERS[kind].relative_to(ENVIRONMENT.parent)} {'--no-deps ' * (kind == 'tpu')}"
      f"'{requirement(kind)}')"
    )
  os.environ.update({"JAX_PLATFORMS": "cpu", **_VARIABLES[kind]})
  if kind == "gpu" and "xla_gpu_autotune_level" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_GPU_FLAGS}".strip()


def describe(target: Target, chips: int) -> list:
  """The devices of the smallest slice of so many chips, described: programs are compiled for them, none is run."""
  from jax.experimental import topologies

  name = target.topologies[chips]
  if target.kind == "gpu":
    text = gpu_text(target)
    return topologies.get_topology_desc("", "cuda", target_config=text, topology=name).devices
  # One chip is no whole host, of which a slice otherwise consists.
  host = {"chips_per_host_bounds": (1, 1, 1)} if chips == 1 else {}
  return topologies.get_topology_desc(name, "tpu", **host).devices


def at_hand(target: Target, chips: int) -> list:
  """This machine's own devices of a kind. UserError where they are of another, or too few."""
  import jax

  devices = jax.devices()
  if _DEVICE_KINDS[target.name] not in devices[0].device_kind or len(devices) != chips:
    raise UserError(
      f"--run: this machine has {len(devices)} x {devices[0].device_kind}, not {chips} x {target.title}: name its own "
      "with --target and --chips, or leave out --run"
    )
  return devices


def gpu_text(target: Target) -> str:
  """A card's limits as XLA's stream_executor.GpuTargetConfigProto, in text."""
  return (
    f"gpu_device_info {{ {_GPUS[target.name]} memory_bandwidth: {target.bytes_per_second:.0f}"
    f" device_memory_size: {target.memory_bytes} clock_rate_ghz: {target.clock_hz / 1e9} }}"
    f' platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }} device_description_str: "{target.title}"'
  )


def main(argv: list[str]) -> None:
  """Prints what to install."""
  parser = Parser(__doc__)
  parser.add_argument("kind", choices=("tpu", "gpu"))
  kind = parser.parse_args(argv).kind
  wanted = requirement(kind)
  print(wanted)


if __name__ == "__main__":
  run(main)
