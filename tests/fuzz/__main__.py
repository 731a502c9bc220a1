"""python -m tests.fuzz [--kind=weights] [--cases=100000] [--seed=0]: a line a kind, exit code 1 where one crashed.

A case must end within 20 seconds, and the process may not grow by more than 300 MB while it does.
"""

import argparse
import resource
import signal
import sys
import time
import traceback
import warnings

from absl import logging
from hypothesis import HealthCheck, given, seed, settings

from tests.fuzz.kinds import KINDS

SECONDS = 20
MEMORY = 300 << 10  # kB, as getrusage counts


class TooLong(BaseException):
  """Not an Exception, which readers of damaged files catch."""


def fuzz(name: str, cases: int, *, start: int = 0, derandomize: bool = False) -> None:
  """Throws so many cases of a kind; raises what a reader should not have, the case with it, shrunk."""
  kind = KINDS[name]

  def stop(*_):
    raise TooLong(f"a case of {name} took more than {SECONDS} s")

  def check(case):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(SECONDS)
    try:
      with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind.check(case)
    finally:
      signal.alarm(0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MEMORY, f"a case of {name} took {grown >> 10} MB"

  previous = signal.signal(signal.SIGALRM, stop)
  test = given(case=kind.cases)(check)
  if not derandomize:
    test = seed(start)(test)
  try:
    settings(
      max_examples=cases, database=None, deadline=None, derandomize=derandomize, suppress_health_check=list(HealthCheck)
    )(test)()
  finally:
    signal.signal(signal.SIGALRM, previous)


def main() -> int:
  """Runs the kinds that are asked for."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kind", choices=KINDS, help="default: all")
  parser.add_argument("--cases", type=int, default=100_000)
  parser.add_argument("--seed", type=int, default=0)
  arguments = parser.parse_args()
  logging.set_verbosity(logging.FATAL)
  crashed = False
  for name in [arguments.kind] if arguments.kind else KINDS:
    begun = time.process_time()
    try:
      fuzz(name, arguments.cases, start=arguments.seed)
      print(f"{name}: {arguments.cases} cases survived, {time.process_time() - begun:.0f} s of a core", flush=True)
    except BaseException:
      crashed = True
      traceback.print_exc()
      print(f"{name}: CRASHED", flush=True)
  return int(crashed)


if __name__ == "__main__":
  sys.exit(main())
