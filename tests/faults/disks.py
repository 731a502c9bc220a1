"""Disks that are full or cannot be written: one line, nothing lost, and the same command goes on when there is room."""

import contextlib
import resource
import shutil
import signal
import subprocess

from tests.faults.cases import Skipped, case
from tests.faults.scene import Scene


def no_file_larger(num_bytes: int):
  """What makes every larger write of a process fail, as on a full disk."""

  def limit():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))

  return limit


@case("no room for a checkpoint")
def _checkpoint(scene: Scene):
  scene.copy_reference(steps=(16, 20))
  process = scene.start(before=no_file_larger(5_000), mode="train")
  scene.refused(process, "cannot write", "free some space")
  scene.same()


@case("no room for the prepared data")
def _data(scene: Scene):
  process = scene.start(before=no_file_larger(5_000), fresh_data=True)
  scene.refused(process, "free some space")
  scene.same(fresh_data=True)


@case("no room for the report")
def _report(scene: Scene):
  scene.copy_reference()
  scene.refused(scene.start(before=no_file_larger(3_000), mode="eval"), "free some space")
  scene.same()


@contextlib.contextmanager
def small_disk(scene: Scene, size: str):
  """A disk of so many bytes at the case's disk/; Skipped where none can be mounted."""
  disk = scene.folder / "disk"
  disk.mkdir()
  mounted = subprocess.run(
    ["mount", "-t", "tmpfs", "-o", f"size={size}", "faults", disk], capture_output=True, text=True, check=False
  )
  if mounted.returncode:
    raise Skipped(f"cannot mount a small disk: {mounted.stderr.strip()}")
  try:
    yield disk
  finally:
    subprocess.run(["umount", disk], check=False)


@case("a disk that fills up and is emptied")
def _full(scene: Scene):
  with small_disk(scene, "4m") as disk:
    scene.run = disk / "run"
    scene.copy_reference(steps=(16, 20))
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
      while file.write(bytes(4096)):
        pass
    scene.refused(scene.start(mode="train"), "free some space")
    (disk / "filler").unlink()
    scene.same()


@case("a disk that can only be read, then written again")
def _read_only(scene: Scene):
  with small_disk(scene, "16m") as disk:
    scene.run = disk / "run"
    scene.copy_reference(steps=(16, 20))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    scene.refused(scene.start(mode="train"), "Read-only file system")
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    scene.same()


@case("a workdir removed under a run's feet")
def _removed(scene: Scene):
  process = scene.start(mode="train")
  if process.until_says("first cycle after"):
    shutil.rmtree(scene.run, ignore_errors=True)
  code = process.wait()
  if code == 0:  # it had been faster
    shutil.rmtree(scene.run, ignore_errors=True)
  scene.same()
