"""A run that nothing disturbed, runs beside it that faults befall, and whether they come to the same, bit for bit."""

import json
import os
import pathlib
import random
import shutil
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from prt_jax.training.writers import SPEED_SCALARS
from tests.conftest import ROOT
from tests.faults.processes import Lost, Process, command, fork

CONFIG = f"{ROOT}/tests/faults/one_layer.py:stochastic-erratic"
# What a report says of where and when it was made.
PLACE_AND_TIME = ("run", "seconds", "created", "config", "data", "versions", "hardware")


class Scene:
  """Where cases take place: data, a cache, the undisturbed run, and for each case a folder and random numbers."""

  def __init__(self, root: pathlib.Path, seed: int):
    self.root, self.seed = root, seed
    self.data, self.cache, self.reference = root / "images", root / "cache", root / "reference"
    if not self.data.exists():
      draw_images(self.data)

  def start_case(self, name: str) -> None:
    """An empty folder and random numbers of a case's own."""
    shutil.rmtree(self.root / "case", ignore_errors=True)
    self.go_on()
    self.rng = random.Random(f"{self.seed} {name}")

  def go_on(self) -> None:
    """The folder of the case that was begun, as it is."""
    self.folder = self.root / "case"
    self.folder.mkdir(exist_ok=True)
    self.run = self.folder / "run"
    self._count = len(list(self.folder.glob("log*")))

  def make_reference(self) -> None:
    """The undisturbed run, and how long each of its phases takes."""
    path = self.root / "phases.json"
    if not path.exists():
      for _ in range(2):  # compiled the first time, timed the second
        shutil.rmtree(self.reference, ignore_errors=True)
        self.start_case("reference")
        process, started, phases = self.start(workdir=self.reference, fresh_data=True), time.monotonic(), {}
        for phase, text in PHASES.items():
          if not process.until_says(text):
            raise Lost(f"the undisturbed run never came to {phase}: {process.last_line()}")
          phases[phase] = time.monotonic() - started
        if process.wait():
          raise Lost(f"the undisturbed run failed: {process.last_line()}")
        phases["end"] = time.monotonic() - started
      path.write_text(json.dumps(phases))
    self.phases = json.loads(path.read_text())

  def seconds(self, phase: str, until: str) -> float:
    """How long an undisturbed run takes from one of PHASES to another, or to its 'end'."""
    return self.phases[until] - self.phases[phase]

  def flags(self, *extra: str, workdir=None, data=None, cache=None, mode="train_and_eval") -> list[str]:
    """The command's arguments."""
    return [
      f"--config={CONFIG}", f"--workdir={workdir or self.run}", f"--mode={mode}",
      f"--config.data.path={data or self.data}", f"--config.data.cache_dir={cache or self.cache}", *extra,
    ]  # fmt: skip

  def start(self, *extra: str, fresh_data=False, before: Callable[[], None] | None = None, environment=None,
            **keywords) -> Process:  # fmt: skip
    """Starts the command; fresh_data: with data that are not prepared yet; before: done first in its process."""
    if fresh_data:
      keywords["cache"] = self.fresh_cache()
    action = command(self.flags(*extra, **keywords))

    def with_before():
      if before:
        before()
      action()

    return fork(with_before, self.new_log(), environment)

  def fresh_cache(self) -> pathlib.Path:
    """A cache folder of the case's own, in which only the compiled programs are those of all."""
    cache = self.folder / "cache"
    (self.cache / "xla").mkdir(parents=True, exist_ok=True)
    cache.mkdir(exist_ok=True)
    if not (cache / "xla").exists():
      (cache / "xla").symlink_to(self.cache / "xla")
    return cache

  def new_log(self) -> pathlib.Path:
    """A file for the next process's output."""
    self._count += 1
    return self.folder / f"log{self._count}"

  def copy_reference(self, steps=None, evaluated=False) -> pathlib.Path:
    """The undisturbed run as the case's, with checkpoints of these steps alone, before its evaluation or after."""
    shutil.copytree(self.reference, self.run)
    for path in (self.run / "checkpoints").glob("[0-9]*"):
      if steps is not None and int(path.name) not in steps:
        shutil.rmtree(path)
    if not evaluated:
      shutil.rmtree(self.run / "eval", ignore_errors=True)
    return self.run

  def finish(self, *extra: str, **keywords) -> Process:
    """The command, once, to its end; Lost unless it succeeds."""
    process = self.start(*extra, **keywords)
    if code := process.wait():
      raise Lost(f"the same command ended with {code}: {process.last_line()}")
    return process

  def refused(self, process: Process, *parts: str) -> None:
    """Waits for a process that must end with code 1 and one line, with these parts."""
    code, lines = process.wait(), [line for line in process.text().splitlines() if line.startswith("error: ")]
    if code != 1 or len(lines) != 1 or "Traceback" in process.text():
      raise Lost(f"exit code {code}, {len(lines)} error lines: {process.last_line()}")
    for part in parts:
      expect(part in lines[0], f"{part!r} is not in {lines[0]!r}")

  def same(self, **keywords) -> None:
    """finish, and Lost unless everything that the run left is the undisturbed run's."""
    self.finish(**keywords)
    self.compare()

  def compare(self, workdir: pathlib.Path | None = None) -> None:
    """Lost unless metrics, weights, optimisers, pictures and report are the undisturbed run's, bit for bit."""
    process = fork(lambda: compare(self.reference, workdir or self.run), self.new_log())
    if process.wait():
      raise Lost(process.last_line())


# What the command says when a phase begins.
PHASES = {
  "preparation": "preparing ", "compilation": "starting ", "steps": "first cycle after",
  "middle": "evaluating 4 inputs at step 20", "evaluated": "evaluated step 20",
  "evaluation": "evaluating step", "report": "28 of 28 measurements",
}  # fmt: skip


def expect(condition, what: str) -> None:
  """Lost unless the condition holds."""
  if not condition:
    raise Lost(what)


def draw_images(folder: pathlib.Path) -> None:
  """24 and 8 smooth random pictures, the same at every place and time."""
  rng = np.random.default_rng(0)
  for split, count in (("train", 24), ("val", 8)):
    (folder / split).mkdir(parents=True)
    for i in range(count):
      coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
      path = folder / split / f"{i:03d}.png"
      coarse.resize((32, 32), Image.Resampling.BICUBIC).save(path)
      os.utime(path, (1_700_000_000, 1_700_000_000))


def compare(a: pathlib.Path, b: pathlib.Path, tolerance: float = 0) -> None:
  """Raises Lost at the first thing that two finished runs do not share; tolerance: relative to the largest number."""
  theirs, ours = arrays(a), arrays(b)
  expect(theirs.keys() == ours.keys(), f"other contents: {sorted(theirs.keys() ^ ours.keys())[:5]}")
  for name, array in theirs.items():
    if tolerance and "consistency" in name:
      continue  # is itself what rounding leaves
    if tolerance and name.endswith(".png"):
      apart = np.abs(ours[name].astype(int) - array).max()
      expect(apart <= 1, f"{name} differs by {apart} of 255 levels")
    elif tolerance:
      error = np.abs(ours[name].astype(float) - array).max() / max(1e-9, np.abs(array.astype(float)).max())
      expect(error <= tolerance, f"{name} differs by {error:.2g} of its largest number")
    else:
      # Bits, not numbers: NaN is NaN.
      expect(array.tobytes() == ours[name].tobytes(), f"{name} differs")


def arrays(workdir: pathlib.Path) -> dict[str, np.ndarray]:
  """Everything a finished run left, named: the last checkpoint, metrics, pictures, the evaluation."""
  import orbax.checkpoint as ocp

  last = max((path for path in (workdir / "checkpoints").glob("[0-9]*")), key=lambda path: int(path.name))
  found = {"step": np.array(int(last.name))}

  def walk(tree, name):
    for key, value in tree.items():
      if isinstance(value, dict):
        walk(value, f"{name}/{key}")
      elif value is not None:  # an optimiser's part without numbers
        found[f"{name}/{key}"] = np.asarray(value)

  walk(ocp.StandardCheckpointer().restore((last / "default").absolute()), "checkpoint")
  for number, line in enumerate((workdir / "metrics.jsonl").read_text().splitlines()):
    scalars = {name: value for name, value in json.loads(line).items() if name not in SPEED_SCALARS}
    found |= {f"metrics.jsonl line {number + 1} {name}": np.array(value) for name, value in scalars.items()}
  for path in sorted([*workdir.glob("images/*.png"), *workdir.glob("eval/*/*.png")]):
    found[path.relative_to(workdir).as_posix()] = np.asarray(Image.open(path))
  for path in sorted(workdir.glob("eval/*/examples.npz")):
    with np.load(path) as examples:
      found |= {f"examples.npz {name}": examples[name] for name in examples}
  for path in sorted(workdir.glob("eval/*/report.json")):
    content = json.loads(path.read_text())
    content["protocol"].pop("data")  # the same pixels elsewhere have another fingerprint
    for name in content.keys() - set(PLACE_AND_TIME):
      found[f"report.json {name}"] = np.frombuffer(json.dumps(content[name], sort_keys=True).encode(), np.uint8)
  return found
