"""The cases by name; each is a function of the scene that raises Lost."""

from collections.abc import Callable

from tests.faults.scene import Scene

CASES: dict[str, Callable[[Scene], None]] = {}


class Skipped(Exception):
  """Why a case cannot be tried on this machine."""


def case(name: str) -> Callable:
  """Registers a function (scene) under a name."""

  def register(function):
    CASES[name] = function
    return function

  return register


def cases(names: str, *, count: int) -> Callable:
  """Registers a function as `NAME 1`, `NAME 2`, ...: each with random numbers of its own."""

  def register(function):
    CASES.update({f"{names} {i}": function for i in range(1, count + 1)})
    return function

  return register
