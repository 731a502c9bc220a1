"""Several processes that train one run: what they come to, and how they end where one of them ends."""

import shutil
import signal
import socket
import time

from tests.faults.cases import case
from tests.faults.processes import Lost, Process, fork
from tests.faults.scene import Scene, compare, expect

END_SECONDS = 60.0  # within which the others end where one dies
NUM_DEVICES = 4
UNWATCHED = "--config.eval.every_steps=0"  # as runs of several processes are, whatever they are told


def devices(count: int) -> dict[str, str]:
  """The environment of a process with so many CPU devices."""
  return {"JAX_NUM_CPU_DEVICES": str(count)}


def free_port() -> int:
  """A port that nobody listens at."""
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    return listener.getsockname()[1]


def start_two(scene: Scene, *extra: str, **keywords) -> list[Process]:
  """Starts the command in two processes with two devices each, which train."""
  where = f"--coordinator=127.0.0.1:{free_port()}"
  return [
    scene.start(
      *extra, UNWATCHED, where, "--num_processes=2", f"--process_id={i}", mode="train",
      environment=devices(NUM_DEVICES // 2), **keywords,
    )
    for i in range(2)
  ]  # fmt: skip


def finish_two(scene: Scene, **keywords) -> None:
  """start_two to the end; Lost unless both succeed."""
  for process in start_two(scene, **keywords):
    if code := process.wait():
      raise Lost(f"one of two processes ended with {code}: {process.last_line()}")


def undisturbed(scene: Scene):
  """A run of two processes that nothing disturbed, made once."""
  workdir = scene.root / "reference-two"
  if not (workdir / "checkpoints" / "24").exists():
    finish_two(scene, workdir=workdir)
  return workdir


def expect_same(scene: Scene, workdir, tolerance: float) -> None:
  """Lost unless the case's run is that of the workdir."""
  process = fork(lambda: compare(workdir, scene.run, tolerance), scene.new_log())
  if process.wait():
    raise Lost(process.last_line())


@case("two processes with two devices are one with four")
def _equal(scene: Scene):
  workdir = undisturbed(scene)
  scene.finish(UNWATCHED, mode="train", environment=devices(NUM_DEVICES))
  expect_same(scene, workdir, 1e-5)
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  expect(len(lines) == 8, f"two processes wrote {len(lines)} lines of metrics, not 8")


@case("begun by two processes, finished by one, and the reverse")
def _another_number(scene: Scene):
  workdir = undisturbed(scene)
  for first, then in ((2, 1), (1, 2)):
    scene.start_case(f"begun by {first}")
    half = scene.folder / "half"
    if first == 2:
      finish_two(scene, workdir=half)
    else:
      scene.finish(UNWATCHED, workdir=half, mode="train", environment=devices(NUM_DEVICES))
    half.rename(scene.run)
    drop_after(scene.run, 20)
    if then == 2:
      finish_two(scene)
    else:
      scene.finish(UNWATCHED, mode="train", environment=devices(NUM_DEVICES))
    expect_same(scene, workdir, 1e-5)


def drop_after(workdir, step: int) -> None:
  """Takes the checkpoints after a step away."""
  for path in (workdir / "checkpoints").glob("[0-9]*"):
    if int(path.name) > step:
      shutil.rmtree(path)


ENDLESS = ("--config.train.num_steps=1000000", "--config.train.image_every_steps=1000000")


def one_ends(scene: Scene, which: int, number: int) -> None:
  """A signal that one of two does not survive: the other says so, in one line, in time; then all goes on."""
  processes = start_two(scene)
  if not processes[0].until(lambda: (scene.run / "checkpoints" / "4").exists()):
    raise Lost(f"two processes never came to a checkpoint: {processes[0].last_line()}")
  other = processes[1 - which]
  processes[which].send(number)
  code = other.wait(END_SECONDS)
  processes[which].kill()
  said = [line for line in other.text().splitlines() if "another process" in line and "the same command" in line]
  expect(code != 0, "the other process called the run complete")
  expect(len(said) == 1, f"it ended with {code}, and said: {other.last_line()}")
  finish_two(scene)
  expect_same(scene, undisturbed(scene), 0)


@case("the second of two processes is killed")
def _second(scene: Scene):
  one_ends(scene, 1, signal.SIGKILL)


@case("the first of two processes is killed")
def _first(scene: Scene):
  one_ends(scene, 0, signal.SIGKILL)


@case("the second of two processes falls silent")
def _silent(scene: Scene):
  one_ends(scene, 1, signal.SIGSTOP)


@case("one of two processes is asked to stop")
def _stop(scene: Scene):
  processes = start_two(scene, "--config.train.log_every_steps=1000000", *ENDLESS)
  if not processes[0].until(lambda: (scene.run / "checkpoints" / "8").exists()):
    raise Lost(f"two processes never came to a checkpoint: {processes[0].last_line()}")
  time.sleep(scene.rng.uniform(0, 1))
  processes[1].send(signal.SIGTERM)
  codes = [process.wait() for process in processes]
  expect(codes == [75, 75], f"they ended with {codes}: {processes[0].last_line()}")
  stops = [process.text().rpartition("after step ")[2].split()[0].rstrip(",") for process in processes]
  expect(stops[0] == stops[1], f"they stopped after steps {stops}")
  expect((scene.run / "checkpoints" / stops[0]).exists(), f"step {stops[0]} is not saved")


@case("several processes without a cluster, or with half of the flags")
def _no_cluster(scene: Scene):
  scene.refused(scene.start("--distributed"), "no cluster", "--coordinator=HOST:PORT")
  scene.refused(scene.start("--coordinator=127.0.0.1:1234", "--process_id=0"), "--num_processes missing")
  expect(not scene.run.exists(), "it made a workdir")
  scene.same()
