"""--set FIELD=VALUE, as all experiments read it: a value of its field's kind, as in training's --config.FIELD=VALUE."""

import argparse
import ast
from collections.abc import Sequence

from prt_jax.config import base, flat
from prt_jax.errors import UserError

_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def add_set_argument(parser: argparse.ArgumentParser) -> None:
  """--set, whose values parse_fields reads."""
  parser.add_argument("--set", nargs="+", default=[], metavar="GROUP.FIELD=VALUE", help="config fields of all runs")


def parse_fields(texts: Sequence[str]) -> dict[str, object]:
  """{"group.field": value} of texts FIELD=VALUE.

  true and false, whole numbers, numbers, text as it stands, and for fields of several numbers (6,), 6,8 or [6, 8].

  Raises:
    UserError: no FIELD=VALUE, a field that there is not, a value of another kind.
  """
  defaults, fields = dict(flat(base())), {}
  for text in texts:
    name, equals, value = text.partition("=")
    if not equals:
      raise UserError(f"--set {text}: write GROUP.FIELD=VALUE, for example --set optim.r1_weight=0.1")
    if name not in defaults:
      raise UserError(f"--set {text}: there is no field {name!r}; prt_jax/config.py lists all fields")
    kind = type(defaults[name])
    try:
      fields[name] = _READ[kind](value)
    except (KeyError, ValueError, SyntaxError, TypeError):
      raise UserError(f"--set {text}: {name} takes {_KINDS[kind]}") from None
  return fields


def _numbers(text):
  value = ast.literal_eval(text) if text else ()
  numbers = tuple(value) if isinstance(value, tuple | list) else (value,)
  if not all(type(number) in (int, float) for number in numbers):
    raise ValueError
  return numbers


_READ = {bool: lambda text: _TRUTH[text.lower()], int: int, float: float, str: str, tuple: _numbers}
_KINDS = {
  bool: "true or false", int: "a whole number", float: "a number", tuple: "numbers, for example (400, 500)",
}  # fmt: skip
