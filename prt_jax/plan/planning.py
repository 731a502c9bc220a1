"""What a run will need, without a device: whether it fits, its hours, its memory and disk, and what is missing.

Exact: FLOPs, the state, the data set, its place. Estimated from compiled programs (calibration.py): time, temporaries.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from prt_jax import evaluate, targets
from prt_jax.data.sources import SOURCES, is_drawn
from prt_jax.errors import UserError
from prt_jax.plan.calibration import StepEstimate, estimate
from prt_jax.plan.needs import MISSING, Need, data_needs, disk_need, evaluation_needs
from prt_jax.plan.work import StepWork
from prt_jax.targets import Target
from prt_jax.training import prefetch
from prt_jax.training.kept import steps_left
from prt_jax.training.schedule import make_schedule

# Of a chip's memory, what a run can have: JAX takes three quarters of a GPU's (XLA_PYTHON_CLIENT_MEM_FRACTION), and a
# TPU's system keeps a few hundred MB.
USABLE_SHARE = {"gpu": 0.75, "tpu": 0.95}
STEPS_PER_DISPATCH = 30  # of an accelerator, where the config leaves it open: see devices.default_steps_per_dispatch
ROUND_BATCHES_TO = 8


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes of one device's memory while a run trains.

  Attributes:
    state: parameters, Adam's two moments, batch statistics; exact.
    data: the training images, where data.placement puts them on the device; exact, 0 where their number is not known.
    batches: the images of two dispatches; exact.
    programs: the compiled steps of a cycle; those of the nearest compiled program.
    temporaries: estimated, at the fullest moment of a cycle.
    usable: what there is.
  """

  state: int
  data: int
  batches: int
  programs: int
  temporaries: int
  usable: int

  @property
  def total(self) -> int:
    """All that is needed."""
    return self.state + self.data + self.batches + self.programs + self.temporaries

  @property
  def fits(self) -> bool:
    """Whether that is there."""
    return self.total <= self.usable


@dataclasses.dataclass(frozen=True)
class Plan:
  """Attributes:
  target: the kind of device.
  num_devices: over which the batch is spread; the time between them is not planned.
  batch_size: of the run, over all devices.
  dtype: the compute type.
  seeds_at_once: attack.seeds_at_once, with a number for its 0.
  steps: {'plain': .., 'robust': ..} on one device; no 'robust' in an erratic run.
  num_steps: {'plain': .., 'robust': ..} of the whole run.
  memory: of one device.
  largest_batch_size: that fits with seeds_at_once; 0 = none.
  seeds_at_once_that_fit: the most with which batch_size fits, where seeds_at_once is too many; 0 = not even one.
  batch_size_one_seed: where not even one fits: the largest batch that fits with one at a time.
  disk: {what: bytes}: checkpoints, and the prepared data where its size is known.
  needs: what must be there, and whether it is.
  """

  target: Target
  num_devices: int
  batch_size: int
  dtype: str
  seeds_at_once: int
  steps: Mapping[str, StepEstimate]
  num_steps: Mapping[str, int]
  memory: Memory
  largest_batch_size: int
  seeds_at_once_that_fit: int
  batch_size_one_seed: int
  disk: Mapping[str, int]
  needs: tuple[Need, ...]

  @property
  def fits(self) -> bool:
    """Whether the run fits into the device's memory."""
    return self.memory.fits

  @property
  def hours(self) -> float:
    """Of the steps of the whole run; compilation, evaluation and waiting for data come on top."""
    return sum(self.num_steps[name] * self.steps[name].seconds for name in self.steps) / 3600

  @property
  def missing(self) -> tuple[Need, ...]:
    """Without which the run fails."""
    return tuple(need for need in self.needs if need.state == MISSING)


def plan(
  config: ConfigDict,
  target: Target | str,
  *,
  num_devices: int = 1,
  memory_bytes: int | None = None,
  workdir: pathlib.Path = pathlib.Path("runs"),
  work: StepWork | None = None,
) -> Plan:
  """Plans a run. Nothing is compiled, trained or written; tracing the steps takes seconds each.

  Args:
    config: see prt_jax's config files; any.
    target: a Target or the name of one.
    num_devices: so many of them.
    memory_bytes: what a run can have of a device's memory; None: a share of the target's.
    workdir: where checkpoints will go.
    work: the counts of this config's steps, for a second plan of it: for another target, another batch size.

  Raises:
    UserError: an unknown target, a config that cannot work on any device.
  """
  target = targets.find(target) if isinstance(target, str) else target
  config = evaluate.evaluation_config(config)
  work = work or StepWork(config)
  game = work.game(target.kind)
  make_schedule(dataclasses.replace(game, config=config))
  evaluate.check_fields(config)
  if config.train.batch_size < 1 or config.train.batch_size % num_devices:
    raise UserError(
      f"train.batch_size={config.train.batch_size} does not divide over {num_devices} devices: use a multiple"
    )
  counts, data_need, is_prepared = data_needs(config.data)
  usable = memory_bytes or int(USABLE_SHARE[target.kind] * target.memory_bytes)
  chip = _Chip(config, target, num_devices, usable, work, counts["train"] if counts else 0)
  memory, seeds, one_seed_batch = chip.memory(config.train.batch_size, game.seeds_at_once), game.seeds_at_once, 0
  if not memory.fits:
    seeds = chip.most_seeds(config.train.batch_size)
    one_seed_batch = 0 if seeds or not chip.has_seeds else chip.largest_batch(1)
  disk = {"checkpoints": _num_checkpoints(config) * work.state_bytes(target.kind)}
  needs = [data_need, *evaluation_needs(config, counts), disk_need("checkpoints", disk["checkpoints"], workdir)]
  if counts and not is_drawn(SOURCES[config.data.source]):
    disk["prepared data"] = sum(counts.values()) * work.example_bytes()
    if not is_prepared:
      needs.append(disk_need("prepared data", disk["prepared data"], pathlib.Path(config.data.cache_dir)))
  return Plan(
    target=target,
    num_devices=num_devices,
    batch_size=config.train.batch_size,
    dtype=config.model.dtype,
    seeds_at_once=game.seeds_at_once,
    steps=chip.steps(config.train.batch_size),
    num_steps=_num_steps(config.train.num_steps, game.cycle),
    memory=memory,
    largest_batch_size=chip.largest_batch(game.seeds_at_once),
    seeds_at_once_that_fit=seeds,
    batch_size_one_seed=one_seed_batch,
    disk=disk,
    needs=tuple(needs),
  )


def _num_checkpoints(config):
  """The most that a whole run keeps: the newest, the milestones before them, and the best."""
  return len(steps_left(config.train)) + bool(config.eval.every_steps and config.eval.best_by)


def _num_steps(num_steps, cycle):
  robust = sum(cycle) * (num_steps // len(cycle)) + sum(cycle[: num_steps % len(cycle)])
  return {"plain": num_steps - robust, "robust": robust} if any(cycle) else {"plain": num_steps}


@dataclasses.dataclass(frozen=True)
class _Chip:
  """One device's share of a run, for any batch size (of all devices) and seeds at once."""

  config: ConfigDict
  target: Target
  num_devices: int
  usable: int
  work: StepWork
  num_images: int

  @property
  def _game(self):
    return self.work.game(self.target.kind)

  @property
  def has_seeds(self):
    """Whether fewer seeds at once than the config's would need less memory."""
    return any(self._game.cycle) and self._game.seeds_at_once > 1

  def _works(self, seeds_at_once):
    """{step: Work}, that of a robust step with so many seeds at once."""
    works = {"robust" if robust else "plain": self.work.step(self.target.kind, robust) for robust in self._game.cycle}
    if seeds_at_once != self._game.seeds_at_once:
      works["robust"] = self.work.robust_generator_step(self.target.kind, seeds_at_once)
    return works

  def steps(self, batch_size) -> dict[str, StepEstimate]:
    """The estimates of the run's kinds of step."""
    share, dtype = batch_size // self.num_devices, self.config.model.dtype
    works = self._works(self._game.seeds_at_once)
    return {name: estimate(self.target, name, dtype, share, work) for name, work in works.items()}

  def memory(self, batch_size, seeds_at_once) -> Memory:
    """What a batch needs."""
    data, share = self.config.data, batch_size // self.num_devices
    steps, works = self.steps(batch_size), self._works(seeds_at_once)
    image_bytes = self.work.example_bytes()
    on_device = prefetch.choose_placement(data.placement, self.num_images * image_bytes, self.usable) == "device"
    per_dispatch = self.config.train.steps_per_dispatch or STEPS_PER_DISPATCH
    return Memory(
      state=self.work.state_bytes(self.target.kind),
      data=self.num_images * image_bytes if on_device else 0,
      batches=2 * per_dispatch * share * image_bytes,
      programs=sum(steps["robust" if robust else "plain"].code for robust in self._game.cycle),
      temporaries=max(round(works[name].peak(share) * steps[name].temporaries_ratio) for name in steps),
      usable=self.usable,
    )

  def most_seeds(self, batch_size) -> int:
    """The most seeds at once, fewer than the config's, with which a batch fits; 0 = not even one."""
    most = self._game.seeds_at_once - 1 if self.has_seeds else 0
    # Each seed of a group adds the same: two groups say what the others need.
    needed = [self.memory(batch_size, seeds).total for seeds in range(1, min(most, 2) + 1)]
    if len(needed) < 2:
      return int(bool(needed) and needed[0] <= self.usable)
    return max(0, min(most, 1 + (self.usable - needed[0]) // max(1, needed[1] - needed[0])))

  def largest_batch(self, seeds_at_once) -> int:
    """The largest batch that fits, rounded down to a multiple of ROUND_BATCHES_TO a device; 0 = none."""

    def fits(share):
      return self.memory(share * self.num_devices, seeds_at_once).fits

    share = 1
    while fits(2 * share):
      share *= 2
    if not fits(share):
      return 0
    step = share // 2
    while step:
      share += step if fits(share + step) else 0
      step //= 2
    rounded = share // ROUND_BATCHES_TO * ROUND_BATCHES_TO
    return self.num_devices * (rounded if rounded and fits(rounded) else share)


def plan_all(config: ConfigDict, workdir: pathlib.Path = pathlib.Path("runs")) -> list[Plan]:
  """plan for one device of every target."""
  work = StepWork(config)
  return [plan(config, target, workdir=workdir, work=work) for target in targets.TARGETS.values()]
