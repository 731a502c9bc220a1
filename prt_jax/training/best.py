"""The best checkpoint of a run by one measure of its evaluations: which it is, on disk, in best.json."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from prt_jax.errors import UserError
from prt_jax.io.json_files import read_object
from prt_jax.io.whole_files import write_json

FILE = "best.json"


class Criterion(NamedTuple):
  """Attributes:
  name: of a measure, as reports have it.
  scalar: what it is called in metrics.jsonl.
  better: 'higher' or 'lower'.
  """

  name: str
  scalar: str
  better: str

  def is_better(self, value: float, than: float | None) -> bool:
    """Whether a value is better than another; one that is not finite never is."""
    if not math.isfinite(value):
      return False
    return than is None or (value > than if self.better == "higher" else value < than)


class Best:
  """The best so far, of the evaluations whose checkpoint is there."""

  def __init__(self, workdir: pathlib.Path, criterion: Criterion, lines: Sequence[Mapping], steps: Sequence[int]):
    """Finds it anew: lines are a run's of metrics.jsonl, steps its checkpoints'."""
    self._path, self._criterion = workdir / FILE, criterion
    self.step: int | None = None
    self._value: float | None = None
    for line in lines:
      if line["step"] in steps and self.improves(line):
        self._take(line["step"], line)
    if self.step is None:
      self._path.unlink(missing_ok=True)
    else:
      self._write()

  def improves(self, scalars: Mapping[str, float]) -> bool:
    """Whether an evaluation is better than the best so far."""
    value = scalars.get(self._criterion.scalar)
    return isinstance(value, int | float) and self._criterion.is_better(value, self._value)

  def record(self, step: int, scalars: Mapping[str, float]) -> None:
    """Makes a step the best; its checkpoint is on disk."""
    self._take(step, scalars)
    self._write()

  def __str__(self) -> str:
    return f"{self._criterion.name} {self._value:.4g}"

  def _take(self, step, scalars):
    self.step, self._value = step, float(scalars[self._criterion.scalar])

  def _write(self):
    name, _, better = self._criterion
    write_json(self._path, {"step": self.step, "measure": name, "value": self._value, "better": better})


def best_step(workdir: pathlib.Path) -> int:
  """The step of a run's best checkpoint; UserError where none is marked."""
  path = workdir / FILE
  try:
    step = read_object(path, "name a step").get("step")
  except (FileNotFoundError, NotADirectoryError):
    raise UserError(
      f"{workdir} has no {FILE}: train with eval.every_steps and eval.best_by, which mark the best checkpoint, or name "
      "a step"
    ) from None
  if not isinstance(step, int) or isinstance(step, bool) or step < 1:
    raise UserError(f"{path} names no step: name a step")
  return step
