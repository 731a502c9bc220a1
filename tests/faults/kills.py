"""SIGKILL at random moments of every phase: the same command then ends as if nothing had happened."""

import time

from tests.faults.cases import cases
from tests.faults.processes import Lost
from tests.faults.scene import Scene, expect

ATTEMPTS = 5  # at meeting a phase before it is over


def killed(scene: Scene, reached, seconds: float, **keywords) -> None:
  """Starts the command and kills it a random time, up to so many seconds, after reached(process)."""
  for _ in range(ATTEMPTS):
    process = scene.start(**keywords)
    if process.until(lambda: reached(process)):  # noqa: B023
      time.sleep(scene.rng.uniform(0, seconds))
      if process.kill() == -9:
        return
  raise Lost(f"never met: {process.last_line()}")


def says(text):
  return lambda process: text in process.text()


@cases("killed while it prepares data", count=3)
def _preparing(scene: Scene):
  killed(scene, lambda _: any((scene.folder / "cache").glob(".*")), 0.05, fresh_data=True)
  scene.same(fresh_data=True)


@cases("killed while it compiles", count=3)
def _compiling(scene: Scene):
  killed(scene, says("starting "), 0.9 * scene.seconds("compilation", "steps"))
  scene.same()


@cases("killed in a step", count=4)
def _stepping(scene: Scene):
  killed(scene, says("first cycle after"), 0.9 * scene.seconds("steps", "evaluation"))
  scene.same()


@cases("killed while it evaluates in the middle", count=4)
def _watching(scene: Scene):
  step = scene.rng.choice((10, 20, 24))
  killed(scene, says(f"evaluating 4 inputs at step {step}"), 0.9 * scene.seconds("middle", "evaluated"))
  scene.same()
  for find in (lambda run: (run / "best.json").read_text(), lambda run: {p.name for p in run.glob("checkpoints/*")}):
    expect(find(scene.run) == find(scene.reference), f"{find(scene.reference)} has become {find(scene.run)}")


@cases("killed while it writes a checkpoint", count=5)
def _writing(scene: Scene):
  # The k-th write, at a random moment of it or shortly after.
  folder, writes, seen = scene.run / "checkpoints", scene.rng.randint(1, 4), set()

  def reached(_):
    if folder.exists():
      seen.update(path.name for path in folder.iterdir() if "tmp" in path.name)
    return len(seen) >= writes

  killed(scene, reached, 0.03)
  scene.same()


@cases("killed while it evaluates", count=3)
def _evaluating(scene: Scene):
  scene.copy_reference()
  killed(scene, says("evaluating step"), 0.9 * scene.seconds("evaluation", "report"), mode="eval")
  scene.same()


@cases("killed while it writes the report", count=2)
def _reporting(scene: Scene):
  scene.copy_reference()
  killed(scene, says("28 of 28 measurements"), 0.9 * scene.seconds("report", "end"), mode="eval")
  scene.same()
