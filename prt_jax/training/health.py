"""Whether a run looks collapsed: signs in its curves, each named once it has lasted. Nothing is stopped."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from absl import logging
from ml_collections import ConfigDict

WATCH = "watch/"  # what the scalars of evaluations during a training begin with
COUNT = "collapse_signs"  # the scalar: how many signs there are at a log interval; 0 is healthy

# A quarter of a grey level of 8 bits: nobody sees such a difference between two draws. The paper's erratic stochastic
# restorer, which nearly ignores its noise, has .007, its robust one .105.
MIN_STD = 0.001
# The critic calls 99.3% of both kinds right at a margin of 10 (sigmoid(5) each): what is left of its loss is .013.
MAX_MARGIN = 10.0
# And here it tells nothing apart: its loss is 2 log 2 to four digits.
MIN_MARGIN = 0.01
# Adam divides a gradient by its size, down to 1e-8 a weight; a million weights below that are a norm of 1e-5.
MIN_GRADIENT = 1e-5

Scalars = Mapping[str, float]


class Sign(NamedTuple):
  """Attributes:
  text: what is said of it, with the scalar's value as {value:.3g}.
  scalar: what it looks at.
  is_bad: (its value) -> whether it is there.
  lasting: consecutive values, log intervals or evaluations, after which it is named.
  """

  text: str
  scalar: str
  is_bad: Callable[[float], bool]
  lasting: int


def _below(limit):
  return lambda value: not value >= limit  # NaN is as bad


SIGNS = {
  "no spread": Sign(
    "the draws of Z agree (seed_std {value:.3g}): the restorer ignores its noise", "seed_std", _below(MIN_STD), 3
  ),
  "no spread in evaluations": Sign(
    f"the draws of Z agree ({WATCH}per_pixel_std {{value:.3g}}): the restorer ignores its noise",
    f"{WATCH}per_pixel_std", _below(MIN_STD), 2,
  ),
  "critic saturated": Sign(
    "the critic tells everything apart (critic_margin {value:.3g}): it teaches nothing more; raise optim.r1_weight",
    "critic_margin", lambda value: not value <= MAX_MARGIN, 3,
  ),
  # A critic may start almost linear (docs/training.md): it is given longer.
  "critic blind": Sign(
    "the critic tells nothing apart (critic_margin {value:.3g})", "critic_margin",
    lambda value: not abs(value) >= MIN_MARGIN, 10,
  ),
  "no gradient": Sign(
    "the generator's gradient is zero (generator_gradient_norm {value:.3g})", "generator_gradient_norm",
    _below(MIN_GRADIENT), 3,
  ),
  "evaluation failed": Sign(
    "an evaluation failed, or gave numbers that are not finite ({value:.0f})", f"{WATCH}failed",
    lambda value: value > 0, 1,
  ),
}  # fmt: skip


def signs_of(config: ConfigDict) -> dict[str, Sign]:
  """The SIGNS that a run can have: a deterministic restorer's draws agree by its nature."""
  return {name: sign for name, sign in SIGNS.items() if config.model.stochastic or not name.startswith("no spread")}


def with_ratios(means: Scalars, ratio: float | None) -> dict[str, float]:
  """The means of a log interval with what follows from them: critic_margin, and gradient_ratio where there is one."""
  scalars = dict(means)
  if {"critic_real", "critic_fake"} <= means.keys():
    scalars["critic_margin"] = means["critic_real"] - means["critic_fake"]
  return scalars if ratio is None else scalars | {"gradient_ratio": ratio}


def gradient_ratio(sums: Mapping[str, tuple[float, float]]) -> float | None:
  """The mean norm of the generator's gradient in robust steps over that in plain ones; None where either is missing.

  sums: {scalar: (sum, count)} of an interval. A plain step's gradient is the adversarial term's alone, a robust step's
  has lambda_R times the robustness term as well.
  """
  (everything, steps), (robust, robust_steps) = (
    tuple(map(float, sums.get(name, (0, 0)))) for name in ("generator_gradient_norm", "robust_gradient_norm")
  )
  plain, plain_steps = everything - robust, steps - robust_steps
  if not robust_steps or not plain_steps or not plain > 0:
    return None
  return (robust / robust_steps) / (plain / plain_steps)


class Health:
  """What a run's lines of metrics.jsonl show of it; made of the earlier ones, a resumed run goes on where it was."""

  def __init__(self, signs: Mapping[str, Sign], lines: Sequence[Scalars] = ()):
    self._signs, self._lasted = signs, dict.fromkeys(signs, 0)
    for line in lines:
      self._count(line)

  def __call__(self, step: int, scalars: Scalars) -> dict[str, float]:
    """Notes the scalars of a step, and says in the log what sign is there now, or gone; {COUNT: signs there are}."""
    before = self.present
    self._count(scalars)
    for name, sign in self._signs.items():
      if name in self.present and name not in before:
        text = sign.text.format(value=scalars[sign.scalar])
        logging.warning("step %d: this run looks collapsed: %s; it goes on", step, text)
      elif name in before and name not in self.present:
        logging.info("step %d: no more: %s", step, name)
    return {COUNT: float(len(self.present))}

  @property
  def present(self) -> set[str]:
    """The names of the signs that have lasted."""
    return {name for name, lasted in self._lasted.items() if lasted >= self._signs[name].lasting}

  def _count(self, scalars):
    for name, sign in self._signs.items():
      value = scalars.get(sign.scalar)
      if isinstance(value, int | float):
        self._lasted[name] = self._lasted[name] + 1 if sign.is_bad(value) else 0


def not_finite(scalars: Scalars) -> list[str]:
  """The names of the scalars that are NaN or infinite."""
  return [name for name, value in scalars.items() if not math.isfinite(value)]
