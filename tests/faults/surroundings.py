"""What changes around a run: its data, the clock, other runs in its place."""

import os
import shutil
import time

from tests.faults.cases import case
from tests.faults.scene import Scene, expect

DAY = 86_400.0


@case("ten images removed, then restored")
def _removed(scene: Scene):
  scene.copy_reference(steps=(16, 20))
  data = scene.folder / "images"
  shutil.copytree(scene.data, data)
  for i in range(10):
    (data / "train" / f"{i:03d}.png").unlink()
  scene.refused(scene.start(data=data), "on other data", "24 training and 8 validation images there, 14 and 8 here")
  for i in range(10):
    shutil.copy2(scene.data / "train" / f"{i:03d}.png", data / "train")
  scene.same(data=data)


@case("one image replaced by another, then restored")
def _replaced(scene: Scene):
  scene.copy_reference(steps=(16, 20))
  data = scene.folder / "images"
  shutil.copytree(scene.data, data)
  shutil.copyfile(data / "train" / "001.png", data / "train" / "000.png")
  scene.refused(scene.start(data=data), "on other data", "other training images")
  shutil.copy2(scene.data / "train" / "000.png", data / "train")
  scene.same(data=f"{data}/")


@case("the data moved, touched, and spelled otherwise")
def _moved(scene: Scene):
  scene.copy_reference(steps=(16, 20))
  data = scene.folder / "elsewhere"
  shutil.copytree(scene.data, data, copy_function=shutil.copyfile)
  scene.same(data=f"{data}/../elsewhere/")


@case("an image changed while the data are prepared")
def _while_prepared(scene: Scene):
  data = scene.folder / "images"
  shutil.copytree(scene.data, data)

  def change_after_the_first():
    from prt_jax.data import cache

    advance = cache.Progress.advance

    def touching(self, *arguments):
      os.utime(data / "val" / "007.png")
      return advance(self, *arguments)

    cache.Progress.advance = touching

  scene.refused(scene.start(data=data, fresh_data=True, before=change_after_the_first), "changed while they were read")
  scene.same(data=data, fresh_data=True)


@case("the prepared data deleted between two runs")
def _deleted(scene: Scene):
  scene.copy_reference(steps=(16, 20))
  scene.same(fresh_data=True)


def clock(offset, after: float = 0.0):
  """What makes a process's clock wrong by so many seconds, from so many seconds after its start on."""

  def change():
    right, started = time.time, time.monotonic()
    time.time = lambda: right() + (offset if time.monotonic() - started >= after else 0.0)

  return change


@case("the clock goes back a year between two runs")
def _back(scene: Scene):
  scene.copy_reference(steps=(16, 20))
  scene.same(before=clock(-365 * DAY))


@case("the clock jumps ahead, and back, during a run")
def _jump(scene: Scene):
  after = scene.seconds("preparation", "steps")
  process = scene.start(before=clock(30 * DAY, after), mode="train")
  expect(process.wait() == 0, process.last_line())
  scene.same(before=clock(-30 * DAY, 0.5))


@case("files of a run from the future")
def _future(scene: Scene):
  scene.copy_reference(steps=(16, 20))
  for path in [scene.run, *scene.run.rglob("*")]:
    os.utime(path, (time.time() + 1000 * DAY,) * 2)
  scene.same()


@case("a second run in the same workdir")
def _two_writers(scene: Scene):
  first = scene.start(mode="train")
  expect(first.until(lambda: (scene.run / ".lock").exists()), first.last_line())
  second = scene.start(mode="train")
  code = second.wait()
  if code or "complete" not in second.text():  # the first one was still there
    scene.refused(second, "is being written by process")
  expect(first.wait() == 0, first.last_line())
  scene.same()


@case("two runs started at the same moment")
def _at_once(scene: Scene):
  cache = scene.fresh_cache()
  runs = [scene.start(cache=cache, mode="train") for _ in range(2)]
  codes = sorted(process.wait() for process in runs)
  expect(codes in ([0, 0], [0, 1]), f"they ended with {codes}: {runs[0].last_line()}; {runs[1].last_line()}")
  scene.same(cache=cache)


@case("an evaluation beside a run that trains")
def _reader(scene: Scene):
  scene.copy_reference(steps=(8,) if (scene.reference / "checkpoints" / "8").exists() else (16,))
  training = scene.start(mode="train")
  expect(training.until_says("starting ", "resuming "), training.last_line())
  evaluation = scene.start(mode="eval")
  expect(evaluation.wait() == 0, evaluation.last_line())
  expect(training.wait() == 0, training.last_line())
  for path in (scene.run / "eval").glob("*"):
    if path.name != "24":
      step = path.name
      shutil.rmtree(path)
      lines = (scene.run / "metrics.jsonl").read_text().splitlines(keepends=True)
      kept = [line for line in lines if not (f'"step": {step}' in line and "eval/" in line)]
      expect(len(kept) == len(lines) - 1, "the evaluation's line is not there, or twice")
      (scene.run / "metrics.jsonl").write_text("".join(kept))
  scene.same()


@case("two evaluations at the same moment")
def _two_evaluations(scene: Scene):
  scene.copy_reference()
  both = [scene.start(mode="eval") for _ in range(2)]
  codes = sorted(process.wait() for process in both)
  expect(codes in ([0, 0], [0, 1]), f"they ended with {codes}: {both[0].last_line()}; {both[1].last_line()}")
  scene.same()
