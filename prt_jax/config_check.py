"""Whether a config's values can work, each by itself: ranges, and numbers that are numbers."""

import math
import numbers

from absl import logging
from ml_collections import ConfigDict

from prt_jax.config import base, flat
from prt_jax.errors import UserError

MAX_SEED = 2**32 - 1  # a larger seed has the random numbers of a smaller one in JAX
MAX_STEPS = 2**31 - 1  # steps are counted in 32 bits

# Group -> intervals of numeric fields. Those whose meaning hangs on other fields are checked where they are used.
INTERVALS = {
  "data": {"train_fraction": "(0, 1]"},
  "model": {"width": "[1, inf)", "critic_width": "[1, inf)", "noise_scale": "(0, inf)"},
  "attack": {
    "eps": "(0, inf)", "num_steps": "[1, inf)", "learning_rate": "(0, inf)", "num_seeds": "[1, inf)",
    "seeds_at_once": "[0, inf)",
  },
  "optim": {
    "learning_rate": "(0, inf)", "b1": "[0, 1)", "b2": "[0, 1)", "decay_factor": "(0, inf)", "r1_weight": "[0, inf)",
    "robust_weight": "[0, inf)", "robust_every_steps": "[1, inf)",
  },
  "train": {
    "num_steps": f"[1, {MAX_STEPS}]", "batch_size": "[1, inf)", "log_every_steps": "[1, inf)",
    "checkpoint_every_steps": "[1, inf)", "keep_checkpoints": "[1, inf)", "image_every_steps": "[1, inf)",
    "steps_per_dispatch": "[0, inf)", "milestone_every_steps": "[0, inf)",
  },
  "eval": {
    "step": "[-1, inf)", "num_examples": "[1, inf)", "batch_size": "[1, inf)", "num_std_seeds": "[1, inf)",
    "num_neighbors": "[1, inf)", "strong_num_examples": "[0, inf)", "strong_num_steps": "[1, inf)",
    "strong_num_restarts": "[0, inf)", "curve_num_examples": "[0, inf)", "curve_num_steps": "[1, inf)",
    "num_jacobian_steps": "[0, inf)", "every_steps": "[0, inf)", "watch_examples": "[2, inf)",
  },
}  # fmt: skip
_TYPES = {
  bool: "True or False", int: "a whole number", float: "a number", str: "a text", tuple: "a list of whole numbers"
}  # fmt: skip
_WORDS = {
  "[1, inf)": " must be at least 1", "(0, inf)": ": it must be more than 0", "[0, inf)": ": it must be 0 or more"
}  # fmt: skip


def checked(config: ConfigDict) -> ConfigDict:
  """The config, checked; a copy where a field has a plain meaning that is not its value.

  A deterministic model has no noise: its attack.num_seeds is 1.

  Raises:
    UserError: numbers that are NaN or infinite (all of them are named), a field of another type than it should be, or
      outside of its interval.
  """
  broken = [f"{name}={value}" for name, value in flat(config) if not _finite(value)]
  if broken:
    raise UserError(f"not finite: {', '.join(broken)}; give {'a number' if len(broken) == 1 else 'numbers'}")
  _check_types(config)
  check_seed("seed", config.seed)
  for group, intervals in INTERVALS.items():
    for name, interval in intervals.items():
      if name in config[group]:
        check_interval(f"{group}.{name}", config[group][name], interval)
  if any(step < 1 for step in config.optim.decay_steps):
    raise UserError(f"optim.decay_steps={tuple(config.optim.decay_steps)}: each must be at least 1")
  if not config.model.stochastic and config.attack.num_seeds != 1:
    logging.info("attack.num_seeds=%d is taken as 1: a deterministic model has no noise", config.attack.num_seeds)
    config = config.copy_and_resolve_references()
    config.attack.num_seeds = 1
  return config


def _check_types(config):
  """UserError where a field is of another type than its default; fields that have none are left to their readers."""
  given = dict(flat(config))
  for name, default in flat(base()):
    if name in given and not _is_like(given[name], default):
      raise UserError(f"{name}={given[name]!r} is not {_TYPES[type(default)]}, as {default!r} is")


def _is_like(value, default):
  if isinstance(default, tuple):
    return isinstance(value, tuple | list) and all(_is_like(item, default[0]) for item in value)
  if isinstance(default, bool | str):
    return isinstance(value, type(default))
  kind = numbers.Integral if isinstance(default, int) else numbers.Real
  return isinstance(value, kind) and not isinstance(value, bool)


def check_seed(name: str, seed: int) -> None:
  """UserError unless seed is one of the 2**32 that JAX tells apart."""
  check_interval(name, seed, f"[0, {MAX_SEED}]")


def check_interval(name: str, value: float, interval: str) -> None:
  """UserError unless a number lies in an interval, written as in mathematics: '[0, 1)'."""
  low, high = map(float, interval[1:-1].split(", "))
  if not (low <= value <= high) or (value == low and interval[0] == "(") or (value == high and interval[-1] == ")"):
    raise UserError(f"{name}={value}{_WORDS.get(interval, f' is not in {interval}')}")


def _finite(value):
  if isinstance(value, tuple | list):
    return all(map(_finite, value))
  return not isinstance(value, float) or math.isfinite(value)
