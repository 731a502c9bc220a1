"""Which checkpoints stay on disk: the newest few, milestones for good, and the best one."""

import dataclasses
from collections.abc import Sequence

from ml_collections import ConfigDict
from orbax.checkpoint import checkpoint_managers


@dataclasses.dataclass
class Kept(checkpoint_managers.PreservationPolicy):
  """Orbax asks it after each checkpoint which ones to keep.

  Attributes:
    newest: so many of the newest.
    every: and those of each multiple of so many steps; 0 = none.
    best: and that of this step; None = none.
  """

  newest: int
  every: int = 0
  best: int | None = None

  def should_preserve(
    self,
    checkpoints: Sequence[checkpoint_managers.PolicyCheckpointInfo],
    *,
    context: checkpoint_managers.PreservationContext,
  ) -> Sequence[bool]:
    """Whether each checkpoint, the oldest first, stays."""
    del context
    steps = [checkpoint.step for checkpoint in checkpoints]
    kept = self.of(steps)
    return [step in kept for step in steps]

  def of(self, steps: Sequence[int]) -> list[int]:
    """Those of the steps, in ascending order, that stay."""
    milestones = [step for step in steps if self.every and step % self.every == 0]
    return sorted({*steps[-self.newest :], *milestones, *(step for step in steps if step == self.best)})


def steps_left(train: ConfigDict) -> list[int]:
  """The steps whose checkpoints a whole run leaves, the best of its evaluations apart; train: config.train."""
  saved = sorted({*range(0, train.num_steps, train.checkpoint_every_steps), train.num_steps} - {0})
  return Kept(train.keep_checkpoints, train.milestone_every_steps).of(saved)
