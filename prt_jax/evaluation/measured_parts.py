"""What is measured of every image, part by part, each kept by what it depends on: only what is new is measured."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from prt_jax.attacks.table import ATTACKS, STRONGER, curve_attacks, run_name
from prt_jax.evaluation.extraction import make_features
from prt_jax.evaluation.measures import MEASURES, Sample, due
from prt_jax.evaluation.runner import LATE, Batch, Runner
from prt_jax.evaluation.store import Store, digest_of
from prt_jax.features.extractor import Extractor
from prt_jax.lipschitz import probe_length
from prt_jax.precision import MEASURING
from prt_jax.restorers import Restorer

VERSION = 1  # of what is measured: raise it when the same key comes to mean other numbers
# What columns of this version hold. Further measures are part of the key: columns without them are not theirs.
_OF_VERSION = (
  "restored_minimum", "restored_maximum", "psnr_db", "psnr_y_db", "ssim", "lpips_style", "consistency_db",
  "consistency_over_z_db", "consistency_max_error", "residual_over_noise", "per_pixel_std", "seed_diversity",
  "robustness_db", "output_psnr_db", "late_gain_db", "ai_psnr_db", "input_psnr_db", "change", "lipschitz",
  "lipschitz_worst_draw", "lipschitz_from_jacobian",
)  # fmt: skip
DIRECTION_STEPS = 10  # power iterations for the direction that one of its starts follows
CURVE_RATE = 0.25  # of the radius: the learning rate of Adam on curves, which suits any radius
PROGRESS_SECONDS = 20.0


class Part(NamedTuple):
  """Attributes:
  name: of the column set; columns of an attack are called NAME_MEASURE in results, those of "search" MEASURE.
  key: all that the numbers depend on.
  count: of how many images, from the first on.
  compute: (batch, what other parts have left of it) -> {column: [B, ...]}.
  """

  name: str
  key: dict
  count: int
  compute: Callable[[Batch, dict], dict[str, np.ndarray]]


class AttackRun(NamedTuple):
  """An attack as it is run.

  Attributes:
    name: of its part.
    attack: a key of ATTACKS.
    radius: its bound, pixels in [0, 1].
    num_steps: of each start.
    count: of how many images, from the first on.
    learning_rate: Adam's, where the attack has it.
    num_restarts: starts, from different points.
    beside: whether it goes on from the delta of "search", which counts as well.
  """

  name: str
  attack: str
  radius: float
  num_steps: int
  count: int
  learning_rate: float = 0.0
  num_restarts: int = 1
  beside: bool = False


def curve_runs(
  alphas: Sequence[float], num_steps: int, count: int, num_restarts: int = 1, num_strong_steps: int | None = None,
  *, norm: str = "sup", size: int = 1,
) -> list[AttackRun]:
  """The papers' attack, the stronger one and whatever else the table has for curves, at each of alphas, in 1/255.

  num_strong_steps: of the stronger one; None: its share of num_steps; 0 = without it.
  norm: "sup", or "L2": alphas then bound the root mean square over a measurement's `size` values.
  """  # fmt: skip
  attacks = {name: round(share * num_steps) for name, share in curve_attacks(norm).items()}
  if num_strong_steps is not None:
    attacks[STRONGER[norm]] = num_strong_steps
  unit = size**0.5 / 255 if norm == "L2" else 1 / 255
  rate = CURVE_RATE * unit if norm == "L2" else 0.0
  return [
    AttackRun(run_name(attack, alpha), attack, unit * alpha, steps, count, rate * alpha, num_restarts)
    for alpha in alphas for attack, steps in attacks.items() if steps
  ]  # fmt: skip


def training_runs(attack: dict, count: int) -> list[AttackRun]:
  """The training attack, its random start alone, and the longer search beside it.

  attack: Restorer.training_attack.
  """
  eps = attack["eps"]
  runs = [
    AttackRun("search", "search", eps, attack["num_steps"], count, attack["learning_rate"]),
    AttackRun("random", "search", eps, 0, count),
  ]
  if examples := attack.get("strong_num_examples", 0):
    longer = attack["strong_num_steps"], examples, 0.0, attack["strong_num_restarts"], True
    runs.append(AttackRun("strong", "longer", eps, *longer))
  return runs


def common_key(runner: Runner, data: Any, weights: str) -> dict:
  """What every part depends on. data: of the images and their order; weights: the digest of the restorer's."""
  return {
    "version": VERSION, "restorer": runner.restorer.identity, "weights": weights, "data": data, "seed": runner.seed,
    **MEASURING,
  }  # fmt: skip


def _further_measures() -> dict:
  names = [name for name in MEASURES if name not in _OF_VERSION]
  return {"measures": names} if names else {}


def plain_part(runner: Runner, key: dict, count: int, num_std_seeds: int) -> Part:
  """All measures without an attack but the LPIPS-style distance."""

  def compute(batch, _):
    sample = runner.sample(batch, runner.spread(batch, num_std_seeds))
    return runner.measure(sample, [name for name in due(sample, runner.settings) if name != "lpips_style"])

  settings = {name: value for name, value in runner.settings._asdict().items() if name != "lpips"}
  own = {"num_seeds": runner.num_seeds, "num_std_seeds": num_std_seeds, "settings": settings} | _further_measures()
  return Part("plain", key | own, count, compute)


def lpips_part(runner: Runner, key: dict, count: int) -> Part:
  """The LPIPS-style distance, in the settings' weights."""

  def compute(batch, _):
    return runner.measure(Sample(batch.y, batch.restored[:, :1], batch.x), ["lpips_style"])

  return Part("lpips", key | {"lpips": digest_of(runner.settings.lpips)}, count, compute)


def attack_part(
  runner: Runner, key: dict, run: AttackRun, *, search: AttackRun | None = None, keeps_sample: bool = False
) -> Part:
  """What one attack does.

  search: the run of "search", where this one stands beside it. keeps_sample: leave (name, "sample") to later parts.
  """

  def find(batch, run, **more):
    return runner.judged_search(
      batch, ATTACKS[run.attack], run.radius, run.num_steps, learning_rate=run.learning_rate, **more
    )

  along = ATTACKS[run.attack].along is not None

  def compute(batch, left):
    if run.beside and search:
      if "search" not in left:
        left["search"] = find(batch, search)[0]
      delta, attack = left["search"], ATTACKS[run.attack]
      restarts = range(1, run.num_restarts + 1)
      delta, _ = find(batch, run, restarts=restarts, best=(delta, runner.change(batch, delta, attack)))
      gain = None
    else:
      if along and "direction" not in left:
        left["direction"] = runner.singular(batch, DIRECTION_STEPS)[1]
      direction = left["direction"] if along else None
      delta, gain = find(batch, run, restarts=range(run.num_restarts), direction=direction)
    sample = runner.attacked(batch, delta, run.name, gain)
    if run.name == "search":
      left["search"] = delta
    if keeps_sample:
      left[run.name, "sample"] = sample
    return runner.measure(sample)

  fields = run._asdict() | {"num_seeds": runner.num_seeds, "psnr_size": runner.settings.psnr_size}
  del fields["count"]
  if along:
    fields |= {"direction_steps": DIRECTION_STEPS, "probe": probe_length(runner.restorer.unit), "late": LATE}
  if run.beside and search:
    fields |= {"search": search._replace(count=0)._asdict()}
  return Part(run.name, key | fields | _further_measures(), run.count, compute)


def jacobian_part(runner: Runner, key: dict, count: int, num_steps: int) -> Part:
  """The norm of the Jacobian, from below."""
  return Part(
    "jacobian", key | {"num_steps": num_steps, "probe": probe_length(runner.restorer.unit)}, count,
    lambda batch, _: runner.measure(runner.jacobian(batch, num_steps)),
  )  # fmt: skip


def features_part(runner: Runner, key: dict, count: int, extractor: Extractor) -> Part:
  """Features of the first draw, of the original and of the measurement, enlarged: columns 'restored', ..."""
  features = make_features(extractor, runner)

  def compute(batch, _):
    columns = {"restored": features(batch.restored[:, 0])}
    if batch.x is not None:
      columns["original"] = features(batch.x)
    y = enlarged(runner.restorer, batch)
    return columns if y is None else columns | {"measurement": features(y)}

  digest = digest_of(extractor.params)
  own = {"extractor": extractor.name, "extractor_weights": digest}
  own |= {"extractor_version": extractor.version} if extractor.version else {}
  return Part("features", key | own, count, compute)


def enlarged(restorer: Restorer, batch: Batch) -> jax.Array | None:
  """Measurements in the place of images, [D,b,H,W,3]: as the net sees them, or by replication; None: neither."""
  y, shape = batch.y, batch.restored.shape[3:]
  if hasattr(restorer.degradation, "network_input"):
    return jnp.stack([restorer.degradation.network_input(part) for part in y])
  rows, columns = (shape[axis] // y.shape[2 + axis] for axis in (0, 1))
  if (rows * y.shape[2], columns * y.shape[3]) != shape[:2]:
    return None
  return y.repeat(rows, 2).repeat(columns, 3)


def fill(
  store: Store, parts: Sequence[Part], load: Callable[[int], Batch], batch_size: int, seconds: dict,
) -> dict[str, dict[str, np.ndarray]]:
  """Measures what the store does not hold yet: {part: {column: [count, ...]}}.

  Args:
    store: where columns are kept.
    parts: what is measured.
    load: the first image's number -> the batch that begins there; past the last image it repeats that.
    batch_size: images of a batch.
    seconds: {part: wall-clock seconds}, which are added to.
  """
  columns = {part.name: store.columns(part.name, part.key) for part in parts}
  progress = Progress(sum(part.count for part in parts), sum(min(columns[p.name].done, p.count) for p in parts))
  while still := [part for part in parts if columns[part.name].done < part.count]:
    first = min(columns[part.name].done for part in still)
    with timed(seconds, "model"):
      batch, left = load(first), {}
    for part in still:
      if columns[part.name].done == first:
        with timed(seconds, part.name):
          rows = part.compute(batch, left)
        count = min(batch_size, part.count - first)
        columns[part.name].append({name: array[:count] for name, array in rows.items()})
        progress.show(count)
  return {part.name: columns[part.name].arrays(part.count) for part in parts}


def fill_each(
  store: Store, parts: Sequence[Part], keys: Sequence[dict], load: Callable[[], Batch]
) -> dict[str, dict[str, np.ndarray]]:
  """fill for one batch whose images are kept each by itself: keys say what belongs to each, beside its parts' own."""
  columns = {part.name: [store.columns(part.name, part.key | key) for key in keys] for part in parts}
  if missing := [part for part in parts if not all(own.done for own in columns[part.name])]:
    batch, left = load(), {}
    for part in missing:
      rows = part.compute(batch, left)
      for index, own in enumerate(columns[part.name]):
        if not own.done:
          own.append({name: array[index : index + 1] for name, array in rows.items()})
  arrays = {name: [column.arrays() for column in own] for name, own in columns.items()}
  return {name: {key: np.concatenate([one[key] for one in own]) for key in own[0]} for name, own in arrays.items()}


class Progress:
  """A line now and then: how far the measuring is, and how long it will take."""

  def __init__(self, total: int, done: int):
    self._first = self._done = done
    self._total = total
    self._start = self._last = time.monotonic()
    if done:
      logging.info("%d of %d measurements are there already", done, total)

  def show(self, more: int) -> None:
    """Called after so many more."""
    self._done += more
    now = time.monotonic()
    if now - self._last < PROGRESS_SECONDS and self._done < self._total:
      return
    self._last = now
    speed = (self._done - self._first) / max(now - self._start, 1e-9)
    logging.info(
      "%d of %d measurements, %.3g a second, %d s to go", self._done, self._total, speed,
      (self._total - self._done) / speed,
    )  # fmt: skip


@contextlib.contextmanager
def timed(seconds: dict, phase: str) -> Iterator[None]:
  """Adds the seconds of a with-block to a phase's."""
  start = time.monotonic()
  yield
  seconds[phase] = seconds.get(phase, 0.0) + time.monotonic() - start
