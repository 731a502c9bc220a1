"""python -m tests.faults [--only=TEXT] [--seed=0] [--keep=DIR] [--kills=N]: faults befall a run; one line a case.

Exit code 0 if nothing is lost, 1 if anything is.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile
import time

from tests.faults import commands, damage, disks, kills, several, signals, surroundings
from tests.faults.cases import CASES, Skipped
from tests.faults.many_kills import many_kills
from tests.faults.processes import Lost, preload
from tests.faults.scene import Scene

FAMILIES = (kills, signals, damage, disks, surroundings, commands, several)  # each registers its cases


def main() -> int:
  """Runs the chosen cases; returns the exit code."""
  parser = argparse.ArgumentParser("python -m tests.faults")
  parser.add_argument("--only", default="", help="cases whose names contain this; several with |")
  parser.add_argument("--seed", type=int, default=0, help="of the random moments and bits")
  parser.add_argument("--keep", type=pathlib.Path, help="a folder to work in, which stays")
  parser.add_argument("--kills", type=int, default=0, help="instead: so many kills in chains; with --keep it goes on")
  parser.add_argument("--list", action="store_true", help="names the cases")
  options = parser.parse_args()
  names = [name for family in FAMILIES for name in CASES if CASES[name].__module__ == family.__name__]
  chosen = [name for name in names if any(text in name for text in options.only.split("|"))]
  if options.list or not chosen:
    print(*names, sep="\n")
    return 0 if options.list else 1  # a misspelled --only has shown nothing
  preload()
  # Not TemporaryDirectory, whose finalizer the forks, too, would run at their end.
  root = options.keep or pathlib.Path(tempfile.mkdtemp())
  try:
    root.mkdir(parents=True, exist_ok=True)
    scene = Scene(root.resolve(), options.seed)
    scene.make_reference()
    lost = many_kills(scene, options.kills) if options.kills else sum(run(scene, name) for name in chosen)
  finally:
    if not options.keep:
      shutil.rmtree(root, ignore_errors=True)
  print(f"{lost} of {options.kills or len(chosen)} lost", flush=True)
  return 1 if lost else 0


def run(scene: Scene, name: str) -> bool:
  """Runs one case and prints its line; whether something is lost."""
  scene.start_case(name)
  started, what = time.monotonic(), "survived"
  try:
    CASES[name](scene)
  except Lost as error:
    what = f"LOST: {error}"
  except Skipped as error:
    what = f"skipped: {error}"
  except Exception as error:  # a case that fails has shown nothing
    what = f"LOST: {type(error).__name__}: {error}"
  print(f"{name}: {what} ({time.monotonic() - started:.0f} s)", flush=True)
  return what.startswith("LOST")


if __name__ == "__main__":
  sys.exit(main())
