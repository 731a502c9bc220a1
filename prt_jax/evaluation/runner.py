"""Restores, attacks and measures batches with any restorer: on all devices, on one, or without tracing.

Every number belongs to one example and depends on its image and on which image it is (its row in a data set, its place
in a folder), so that neither batch size nor devices change it but by rounding.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax import devices
from prt_jax.attacks import Search, restore_seeds
from prt_jax.attacks.table import (
  OBJECTIVES,
  Attack,
  Step,
  better,
  mean_square,
  on_sphere,
  visible_distance,
)
from prt_jax.errors import NO_GRADIENT, UserError
from prt_jax.evaluation import batch_programs as programs
from prt_jax.evaluation import measures
from prt_jax.evaluation.batch_programs import DEVICES, ONE, UNTRACED
from prt_jax.evaluation.checked_calls import check_restored, check_same, in_restorers_code
from prt_jax.evaluation.measures import Sample, Settings
from prt_jax.lipschitz import probe_length
from prt_jax.precision import in_float32
from prt_jax.programs import as_program
from prt_jax.randomness import Stream
from prt_jax.restorers.restorer import Restorer, evaluation_keys

Values = dict[str, Any]
NO_SETTINGS = Settings()
LATE = 0.9  # of a search's steps; what the others gain says whether more would help
UNMOVED = 4 * np.finfo(np.float32).eps  # what rounding moves an output by, in units of the largest, at most


class Batch(NamedTuple):
  """A batch on the devices, leaves [D, b, ...], draws after the device axis.

  Attributes:
    x: originals, float32 in [0, 1]; None where they are not known.
    y: measurements.
    z: the draws that attacks average over, leaves [D, S, b, ...].
    restored: their restorations [D, S, b, ...]; the first is "the" restoration.
    examples: [D b], which images they are.
    seeds: (y, z) -> restorations of all draws, as a pytree that programs take.
  """

  x: Any
  y: jax.Array
  z: Any
  restored: jax.Array
  examples: np.ndarray
  seeds: jax.tree_util.Partial


@dataclasses.dataclass(frozen=True)
class Runner:
  """Attributes:
  restorer: what is measured.
  num_seeds: draws of Z of a stochastic restorer, in attacks and in means over draws.
  settings: what measures need beside a sample.
  seed: of every random number.
  where: DEVICES (batches divide over them), ONE, or UNTRACED for a restorer that is not traceable.
  """

  restorer: Restorer
  num_seeds: int
  settings: Settings = NO_SETTINGS
  seed: int = 0
  where: str = ONE
  _programs: dict = dataclasses.field(default_factory=dict)

  @in_float32
  def begin(self, x: np.ndarray | None, y: np.ndarray | None, examples: np.ndarray) -> Batch:
    """Measures where y is None, and restores.

    Args:
      x: originals [B,H,W,3] float32 in [0, 1]; None where they are not known.
      y: measurements [B,h,w,C]; None: the restorer's own degradation measures x, with its noise.
      examples: [B].

    Raises:
      UserError: what checked_calls.check_restored says; the restorer fails, or draws noise of its own.
    """
    examples = np.asarray(examples)
    measured = self.restorer.measure(jnp.asarray(x), examples, self.seed) if y is None else y
    return self._restored(None if x is None else self.split(x), self.split(measured), examples)

  def _restored(self, x, y, examples):
    z = self.restorer.draws(examples, range(self.num_seeds), y.shape[2:], self.seed)
    z = jax.tree.map(lambda leaf: self.split(leaf, 1), z)
    one = jax.tree.map(lambda leaf: leaf[0], y), jax.tree.map(lambda leaf: leaf[0, 0], z)
    with in_restorers_code(self.restorer.restore, *one):
      is_new = y.shape not in self._programs
      seeds = self._programs[y.shape] = self._programs.get(y.shape) or self._seeds(*one)
      restored = self._over(programs.restore, traced=self.restorer.traceable)(seeds, y, z)
      check_restored(restored, y)
      if is_new and not self.restorer.apply_seeds:
        # Traced anew: what it draws of its own would be a constant of the first trace.
        check_same(restored, self._over(programs.restore, traced=self.restorer.traceable)(self._seeds(*one), y, z))
    return Batch(x, y, z, restored, examples, seeds)

  def draw(self, batch: Batch, number: int) -> jax.Array:
    """The restoration with the draw of that number, [D,b,H,W,3]; the first ones are batch.restored."""
    if number < batch.restored.shape[1]:
      return batch.restored[:, number]
    z = self.restorer.draws(batch.examples, [number], batch.y.shape[2:], self.seed)
    z = jax.tree.map(lambda leaf: self.split(leaf, 1), z)
    return self._over(programs.restore, traced=self.restorer.traceable)(batch.seeds, batch.y, z)[:, 0]

  def spread(self, batch: Batch, num_draws: int) -> jax.Array:
    """The standard deviation over so many draws at each pixel, [D,b,H,W,3]; zeros for a deterministic restorer.

    The divisor is the number of draws less one.
    """
    known = batch.restored[:, :num_draws]
    spread = self._over(programs.spread_of)(None, known)
    for number in range(known.shape[1], num_draws if self.restorer.stochastic else 1):
      spread = self._over(programs.add_draw)(None, spread, self.draw(batch, number))
    return self._over(programs.std)(None, spread)

  @in_float32
  def sample(self, batch: Batch, std: jax.Array | None = None) -> Sample:
    """What was seen of a batch without an attack; a degradation is judged as it comes, clipping would undo it."""
    degraded = None
    if self.restorer.degrade is not None:
      restored = batch.restored
      flat = restored.reshape(-1, *restored.shape[3:])
      degraded = jnp.asarray(self.restorer.degrade(flat))
      if degraded.shape[1:] != batch.y.shape[2:]:
        raise UserError(
          f"degrade returns shape {degraded.shape[1:]} for a restoration of a measurement {batch.y.shape[2:]}"
        )
      degraded = degraded.reshape(*restored.shape[:3], *degraded.shape[1:])
    return Sample(batch.y, batch.restored, batch.x, degraded, std)

  def attacked(self, batch: Batch, delta: jax.Array, attack: str, late_gain: jax.Array | None = None) -> Sample:
    """What delta [D,b,h,w,C] does; late_gain: of judged_search."""
    attacked_y = batch.y + delta
    with self._guarded(batch):
      attacked = self._over(programs.restore, traced=self.restorer.traceable)(batch.seeds, attacked_y, batch.z)
    return Sample(
      batch.y, batch.restored, attack=attack, attacked_y=attacked_y, attacked=attacked,
      late_gain=late_gain,
    )  # fmt: skip

  @in_float32
  def measure(self, sample: Sample, names: Sequence[str] | None = None) -> Values:
    """{measure: [B]} of a sample, numpy: the named ones of measures.MEASURES, None = all that are due."""
    names = measures.due(sample, self.settings) if names is None else names
    host = tuple(name for name in names if measures.MEASURES[name].on_host)
    sample = sample._replace(attack=None)
    traced = tuple(name for name in names if name not in host)
    values = devices.gather_examples(self._over(programs.compute, traced)(self.settings, sample))
    if host:
      parts = jax.device_get(sample)
      parts = [jax.tree.map(lambda leaf, d=d: leaf[d], parts) for d in range(len(sample.y))]
      parts = [measures.compute(host, self.settings, part) for part in parts]
      values |= {name: np.concatenate([part[name] for part in parts]) for name in host}
    return values

  def search(self, *arguments: Any, **more: Any) -> jax.Array:
    """judged_search's delta."""
    return self.judged_search(*arguments, **more)[0]

  @in_float32
  def judged_search(
    self, batch: Batch, attack: Attack, radius: float, num_steps: int, *, learning_rate: float = 0.0,
    restarts: range = range(1), best: tuple[jax.Array, jax.Array] | None = None, direction: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array | None]:
    """The delta [D,b,h,w,C] that an attack finds: of several starts the one that changes most.

    Args:
      batch, attack: what is attacked, and how.
      radius: its bound, pixels in [0, 1].
      num_steps: of each start.
      learning_rate: Adam's, where the attack has it.
      restarts: the numbers of the starts.
      best: (delta, objective [D,b]) to do better than.
      direction: [D,b,h,w,C], along which there is one start more (Attack.along).

    Returns:
      (delta, by how many dB the last tenth of each start's steps lowered the PSNR, [D,b]: more steps would hardly do
      more; None where the best iterate of an attack on pictures is not asked for).

    Raises:
      UserError: the restorer's gradient is NaN; or it is 0 all along, though a random change changes the output.
    """
    slopes, objective = [], OBJECTIVES.index(attack.objective)
    by_objective = attack.keeps_best or len(restarts) > 1
    early = None if best is None else best[1]
    delta: Any = None if best is None else best[0]  # where there is no start of its own
    with self._guarded(batch):
      starts = [self.start(batch, attack, radius, restart) for restart in restarts]
      if direction is not None:
        delta = self._over(programs.along, attack.along)(np.float32(radius), batch.y, direction)
        starts.append(starts[0]._replace(delta=delta))
      for search in starts:
        for number in range(num_steps):
          gradient, change, slope = self._gradient(batch, search.delta, objective)
          slopes.append(slope)
          if attack.keeps_best:
            best = better(best, search.delta, change)
            if number < LATE * num_steps:
              early = change if early is None else jnp.maximum(early, change)
          step = Step(*map(np.float32, (radius, learning_rate, number, num_steps)))
          search = self._over(programs.step, attack)(step, batch.y, search, gradient)
        delta = search.delta
        if by_objective:
          best = better(best, delta, self.change(batch, delta, attack))
          delta = best[0]
      self._check_gradient(batch, attack, slopes, radius)
    if best is None or early is None or attack.objective is not visible_distance:
      return delta, None
    return delta, 20 * jnp.log10(best[1] / jnp.maximum(early, UNMOVED))

  @in_float32
  def start(self, batch: Batch, attack: Attack, radius: float, number: int = 0) -> Search:
    """Where the start of a number begins: a Search, its delta [D,b,h,w,C]."""
    keys = evaluation_keys(Stream.EVALUATION_ATTACK, number, batch.examples, self.seed)
    radius_and_share = np.float32(radius), np.float32(attack.start_share)
    return self._over(programs.start, attack.start)(radius_and_share, self.split(keys), batch.y)

  def change(self, batch: Batch, delta: jax.Array, attack: Attack) -> jax.Array:
    """The attack's objective at delta, [D,b]."""
    sample = self.attacked(batch, delta, "")
    return self._over(programs.objective_of)(OBJECTIVES.index(attack.objective), sample.attacked, batch.restored)

  @in_float32
  def jacobian(self, batch: Batch, num_steps: int) -> Sample:
    """The norm of the first draw's Jacobian from below, by power iteration (lipschitz.jacobian_lower_bound)."""
    return Sample(batch.y, batch.restored, stretch=self.singular(batch, num_steps)[0])

  @in_float32
  def singular(self, batch: Batch, num_steps: int) -> tuple[jax.Array, jax.Array]:
    """(that norm [D,b], the change of y [D,b,h,w,C], short, that the iteration has come to)."""
    keys = evaluation_keys(Stream.EVALUATION_JACOBIAN, 0, batch.examples, self.seed)
    length = np.float32(probe_length(self.restorer.unit))
    delta = self._over(programs.start, on_sphere)((length, np.float32(1)), self.split(keys), batch.y).delta
    first = batch._replace(z=jax.tree.map(lambda leaf: leaf[:, :1], batch.z), restored=batch.restored[:, :1])
    stretches = []
    with self._guarded(batch):
      for _ in range(num_steps + 1):
        gradient, change, _ = self._gradient(first, delta, OBJECTIVES.index(mean_square))
        stretch, delta = self._over(programs.power)(length, delta, gradient, change)
        stretches.append(stretch)
    return jnp.max(jnp.stack(stretches), 0), delta

  def _gradient(self, batch, delta, objective):
    program = self._over(programs.gradient, traced=self.restorer.traceable)
    return program((batch.seeds, np.int32(objective)), batch.y, batch.z, batch.restored, delta)

  def _check_gradient(self, batch, attack, slopes, radius):
    """Refuses a restorer that an attack by gradients cannot see, lest it be called robust."""
    slope = np.max([jax.device_get(slope) for slope in slopes], 0) if slopes else np.ones(1)
    shape = batch.y.shape[1:]
    if not np.isfinite(slope).all():
      raise UserError(f"the restorer's gradient is NaN or inf for a measurement {shape}: it cannot be attacked")
    # Where all is beyond black and white, a picture has no slope though its restorer has one.
    if (slope == 0).any() and attack.objective is not visible_distance:
      signs = jax.random.rademacher(jax.random.key(0), batch.y.shape, batch.y.dtype)
      attacked = self.attacked(batch, radius * signs, attack.title).attacked
      over_pixels = (1, *range(3, attacked.ndim))
      moved = np.max(np.abs(np.asarray(attacked - batch.restored)), over_pixels)
      if ((moved > UNMOVED * np.max(np.abs(np.asarray(attacked)), over_pixels)) & (slope == 0)).any():
        raise UserError(NO_GRADIENT)

  def _guarded(self, batch):
    return in_restorers_code(self.restorer.restore, batch.y[0], jax.tree.map(lambda leaf: leaf[0, 0], batch.z))

  def _seeds(self, y, z):
    """(y, z) -> all draws, for programs; y [b,h,w,C] and one draw z say the shapes."""
    if self.restorer.apply_seeds:
      # On the devices once, not with every call.
      params = devices.replicate(self.restorer.params) if self.where == DEVICES else self.restorer.params
      return jax.tree_util.Partial(self.restorer.apply_seeds, jax.device_put(params))
    return jax.tree_util.Partial(restore_seeds, as_program(self.restorer.restore, y, z))

  def split(self, array: Any, axis: int = 0) -> jax.Array:
    """[..., B, ...] -> [D, ..., b, ...] along an axis, for this runner's devices."""
    array = jnp.asarray(array)
    count = devices.num_devices() if self.where == DEVICES else 1
    parts = array.reshape(*array.shape[:axis], count, -1, *array.shape[axis + 1 :])
    return jnp.moveaxis(parts, axis, 0)

  def _over(self, function: Callable, *fixed: Any, traced: bool = True) -> Callable:
    """function(*fixed, shared, *examples) as a program over the examples' leaves [D, ...]."""
    return programs.program(function, fixed, DEVICES if self.where == DEVICES else ONE if traced else UNTRACED)
