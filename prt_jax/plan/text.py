"""Plans as text, and the command --mode=plan."""

import pathlib
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from prt_jax import devices, targets
from prt_jax.plan.calibration import BOUND, MEASURED_TIMES_BOUND
from prt_jax.plan.needs import FREE
from prt_jax.plan.planning import Plan, plan, plan_all
from prt_jax.targets import Target

# A part of a device's name, as JAX gives it, and the target that it is planned as; the first that fits.
DEVICE_NAMES = {
  "TPU v5 lite": "tpu-v5e", "TPU v5e": "tpu-v5e", "TPU v6": "tpu-v6e", "TPU v5": "tpu-v5p", "GH200": "h100",
  "H100": "h100", "H200": "h200", "A100": "a100",
}  # fmt: skip

SURE_SHARE = 0.9  # of the memory there is; temporaries are an estimate


def command(config: ConfigDict, target: str | None, workdir: pathlib.Path) -> str:
  """The text of a plan for the target; without one, for the accelerators here; without these, for all targets."""
  if target:
    # Not a look at the devices of this machine, which may be in use.
    jax.config.update("jax_platforms", "cpu")
    return render(plan(config, target, workdir=workdir))
  device = _accelerator()
  if device and (found := known_target(device.device_kind)):
    usable = (device.memory_stats() or {}).get("bytes_limit")
    return render(plan(config, found, num_devices=devices.num_devices(), memory_bytes=usable, workdir=workdir))
  here = f"{device.device_kind} is no target that is known" if device else "no accelerator here"
  return f"{here}; one device of every target (--target=NAME says more):\n{render_all(plan_all(config, workdir))}"


def _accelerator():
  try:
    device = devices.first()
  except RuntimeError:  # an accelerator that another process holds
    jax.config.update("jax_platforms", "cpu")
    return None
  return None if device.platform == "cpu" else device


def known_target(device_kind: str) -> Target | None:
  """The target that a JAX device is."""
  name = next((name for part, name in DEVICE_NAMES.items() if part in device_kind), None)
  return targets.TARGETS.get(name or "")


def render(plan: Plan) -> str:
  """One plan, a line a number."""
  memory = plan.memory
  steps = [
    f"{name} {step.seconds * 1e3:,.1f} ms ({step.flops / 1e12:.2f} TFLOP, {step.moved / 1e9:,.1f} GB moved)"
    for name, step in plan.steps.items()
  ]
  parts = [
    f"{part} {_gb(num_bytes)}" for part in ("state", "data", "batches", "programs")
    if (num_bytes := getattr(memory, part))
  ]  # fmt: skip
  programs = dict.fromkeys(program for step in plan.steps.values() for program in step.programs)
  at_least = "at least " if basis(plan).startswith(BOUND) else ""
  return _columns([
    ("device", f"{plan.num_devices} x {plan.target.title}; batch {plan.batch_size}, {plan.dtype}"),
    ("time", f"{at_least}{plan.hours:,.1f} hours for {sum(plan.num_steps.values()):,} steps [{basis(plan)}]"),
    *_as_measured(plan),
    ("", ", ".join(steps)),
    ("cost", f"{at_least}{plan.hours * plan.num_devices:,.1f} device-hours, times the price of one"),
    ("memory", f"{_gb(memory.total)} of {_gb(memory.usable)} that a run can have: {verdict(plan)}"),
    ("", f"{', '.join(parts)}, temporaries {_gb(memory.temporaries)} [estimate]"),
    ("largest batch", f"{plan.largest_batch_size} with attack.seeds_at_once={plan.seeds_at_once}"),
    *_everywhere(plan),
    *(("scaled from" if number == 0 else "", program) for number, program in enumerate(programs)),
    ("not planned", "compilation, evaluation, waiting for data, the time between devices"),
  ])


def render_all(plans: Sequence[Plan]) -> str:
  """A row a target, and what the run needs wherever it runs."""
  rows = [
    (
      plan.target.name,
      f"{plan.hours:,.1f}",
      "" if (measured := hours_as_measured(plan)) is None else f"{measured:,.1f}",
      f"{plan.memory.total / 1e9:.1f}",
      f"{plan.memory.usable / 1e9:.1f}",
      str(plan.largest_batch_size),
      verdict(plan),
      f"[{basis(plan)}]",
    )
    for plan in plans
  ]
  header = ("target", "hours", "at an H200's ratios", "memory GB", "of", "largest batch", "", "the hours are")
  return f"{_columns([header, *rows])}\n\n{_columns(_everywhere(plans[0]))}"


def hours_as_measured(plan: Plan) -> float | None:
  """A bound is far from a run: the hours if this card stays as far above its bound as a measured one (an H200).

  None where the plan's hours are no bound.
  """
  if not basis(plan).startswith(BOUND):
    return None
  steps = plan.steps
  return sum(plan.num_steps[name] * steps[name].seconds * MEASURED_TIMES_BOUND[name] for name in steps) / 3600


def _as_measured(plan):
  if (hours := hours_as_measured(plan)) is None:
    return []
  times = ", ".join(f"{step} {times:g}" for step, times in MEASURED_TIMES_BOUND.items())
  return [("", f"{hours:,.1f} hours at as many times its bound as an H200 was measured to take ({times})")]


def basis(plan: Plan) -> str:
  """What kind of number the plan's hours are."""
  return next(iter(plan.steps.values())).basis


def verdict(plan: Plan) -> str:
  """Whether it fits, or what would."""
  if plan.fits:
    return "fits" if plan.memory.total < SURE_SHARE * plan.memory.usable else "fits, with little to spare"
  if plan.seeds_at_once_that_fit:
    return f"does not fit; attack.seeds_at_once={plan.seeds_at_once_that_fit} does"
  if plan.batch_size_one_seed:
    return f"does not fit; train.batch_size={plan.batch_size_one_seed} with attack.seeds_at_once=1 does"
  if plan.largest_batch_size:
    return f"does not fit; train.batch_size={plan.largest_batch_size} does"
  return "does not fit, at any batch size"


def _everywhere(plan):
  needs = [(need.name, need.text if need.state == FREE else f"{need.state}: {need.text}") for need in plan.needs]
  return [*needs, ("missing", ", ".join(dict.fromkeys(need.name for need in plan.missing)) or "nothing")]


def _gb(num_bytes):
  return f"{num_bytes / 1e9:.2f} GB"


def _columns(rows):
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return "\n".join(
    "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
  )
