"""A wrong command, corrected and run again, works: whatever was wrong with it."""

import signal

from tests.faults.cases import CASES, case
from tests.faults.scene import Scene, expect

# What is wrong: flags, and what the one line says.
WRONG = {
  "a misspelled field": (["--config.optim.lerning_rate=1"], ["lerning_rate"]),
  "a value of the wrong type": (["--config.train.num_steps=many"], ["many"]),
  "a value that cannot work": (["--config.degradation.factor=7"], ["degradation.factor=7"]),
  "a number that is none": (["--config.optim.b1=nan"], ["optim.b1=nan"]),
  "a path that does not exist": (["--config.data.path=/no/such/folder"], ["/no/such/folder"]),
  "more validation images than there are": (["--config.eval.num_examples=9"], ["eval.num_examples=9", "8 validation"]),
  "a batch of none": (["--config.train.batch_size=0"], ["train.batch_size=0"]),
  "a file in place of the workdir": ([], ["cannot use", "--workdir"]),
}


def _make(flags, parts):
  def corrected(scene: Scene):
    keywords = {}
    if not flags:
      (scene.folder / "file").touch()
      keywords["workdir"] = scene.folder / "file" / "run"
    scene.refused(scene.start(*flags, **keywords), *parts)
    expect(not scene.run.exists(), "the wrong command claimed the workdir")
    scene.same()

  return corrected


CASES.update({f"{name}, corrected": _make(*row) for name, row in WRONG.items()})


@case("an evaluation before there is a run, then the run")
def _eval_first(scene: Scene):
  scene.refused(scene.start(mode="eval"), "no run in", "--mode=train")
  scene.same()


@case("a wrong learning rate, stopped before the first checkpoint, corrected")
def _stopped(scene: Scene):
  process = scene.start("--config.optim.learning_rate=0.5", mode="train")
  expect(process.until(lambda: (scene.run / "config.json").exists()), process.last_line())
  process.send(signal.SIGTERM)
  process.wait()
  expect(not list((scene.run / "checkpoints").glob("[0-9]*")), "it was too fast: a checkpoint is there")
  scene.same()


@case("a field changed after the first checkpoint, corrected")
def _changed(scene: Scene):
  scene.copy_reference(steps=(16, 20))
  scene.refused(scene.start("--config.optim.b2=0.5"), "different config", "optim.b2 is 0.99 there, 0.5 here")
  scene.same()
