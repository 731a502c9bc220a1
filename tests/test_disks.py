"""Disks that are full, read-only or fail: one line that names the file and whether it is the space, and comes last."""

import errno
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from prt_jax.data import cache, prepare
from prt_jax.errors import UserError
from prt_jax.io.disk_errors import explain, one_line_errors, remedy_of, size
from prt_jax.io.locks import one_writer
from prt_jax.training import loop
from prt_jax.training.writers import Writers
from tests import tiny
from tests.commands import environment
from tests.conftest import ROOT

FOLDER = pathlib.Path("runs/a")


@pytest.fixture
def small_disk(tmp_path):
  """small_disk(bytes) -> a folder with a file system of its own."""
  mounted = []

  def mount(num_bytes):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)]
    try:
      done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
      pytest.skip("there is no mount command here")
    if done.returncode:
      pytest.skip(f"this machine does not let us mount: {done.stderr.strip()}")
    mounted.append(folder)
    return folder

  yield mount
  for folder in mounted:
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize(
  ("error", "what", "remedy"),
  [
    (OSError(errno.ENOSPC, "No space left"), "cannot write to runs/a: No space left", "free some space"),
    (OSError(errno.EDQUOT, "Quota", "b/x"), "cannot write to b/x: Quota", "free some space"),
    (OSError(errno.EROFS, "Read-only"), "cannot write to runs/a: Read-only", "make it writable"),
    (OSError(errno.EIO, "Input/output", "train.npy"), "cannot read or write train.npy: Input", "check that file"),
    (OSError(errno.EACCES, "Permission denied", "w.pth"), "cannot read or write w.pth: Permission", "check that file"),
    (OSError(errno.EIO, "Input/output error"), "a file could not be read or written: Input", "check the disks"),
  ],
)
def test_errors_name_their_file_and_blame_no_other(error, what, remedy):
  said, advised = explain(error, FOLDER)
  assert said.startswith(what) and advised.startswith(remedy)
  with pytest.raises(UserError, match="run the same command to go on") as raised, one_line_errors(FOLDER):
    raise error
  assert ("space" in str(raised.value)) == (error.errno in (errno.ENOSPC, errno.EDQUOT))


@pytest.mark.parametrize(
  ("code", "advised"),
  [
    (errno.ENOSPC, "free some space"), (errno.EFBIG, "free some space"), (errno.EROFS, "make it writable"),
    (errno.EACCES, "make it writable"), (errno.EIO, "check the disk"),
  ],
)  # fmt: skip
def test_an_error_that_is_text_alone_blames_no_other(code, advised):
  assert remedy_of(f"Error writing 'd/1': [OS error {code}: {os.strerror(code)}]") == advised


def test_a_failing_read_of_training_is_not_blamed_on_the_workdir(tmp_path, monkeypatch):
  def fail(*_):
    raise OSError(errno.EIO, "Input/output error", "/data/images.npy")

  closed = []
  writers = types.SimpleNamespace(close=lambda: closed.append(True))
  monkeypatch.setattr(loop, "Writers", lambda *_, **__: writers)
  monkeypatch.setattr(loop, "_describe", lambda *_: None)
  monkeypatch.setattr(loop, "_run", fail)
  game = types.SimpleNamespace(config=tiny.get_config())
  checkpoints = types.SimpleNamespace(describe_latest=lambda: "step 6")
  with pytest.raises(UserError) as error:
    loop._train(loop.Training(game, loop.Schedule(8, 1, 3, 2, 4), None, tmp_path, checkpoints, None), None, 6)
  message = str(error.value)
  assert message.startswith("cannot read or write /data/images.npy: Input/output error; ")
  assert "the last good checkpoint is step 6" in message
  assert str(tmp_path) not in message and "space" not in message and closed == [True]


@pytest.mark.parametrize(
  ("num_bytes", "text"),
  [(0, "0 bytes"), (999, "999 bytes"), (61_440, "61.4 kB"), (1_250_000_000, "1.25 GB"), (2_345e9, "2,345 GB")],
)
def test_sizes_have_a_unit_that_fits(num_bytes, text):
  assert size(num_bytes) == text


_SAVE = """
import dataclasses, pathlib, resource, sys
import numpy as np
from prt_jax import main
from prt_jax.training.checkpoints import Checkpoints
from prt_jax.errors import UserError
from prt_jax.training.state import TrainState

main.set_up_logging()
folder, limit = sys.argv[1:]
if int(limit):
  resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
values = np.random.default_rng(0).normal(size=(120, 2000)).astype(np.float32)  # 960 kB that no compression makes less
fields = {field.name: {} for field in dataclasses.fields(TrainState)}
fields |= {"step": np.int32(2), "key": None, "generator_params": {f"layer{i}": row for i, row in enumerate(values)}}
checkpoints = Checkpoints(pathlib.Path(folder), 3)
try:
  checkpoints.save(TrainState(**fields))
  checkpoints.wait()
except UserError as error:
  print(f"error: {error}", file=sys.stderr)
  sys.exit(1)
"""


@pytest.mark.parametrize("limited", ["file sizes", "a disk"])
def test_the_first_checkpoint_on_a_full_disk_ends_in_one_line(tmp_path, limited, request):
  if limited == "a disk":
    folder, limit = request.getfixturevalue("small_disk")(300_000), 0
  else:
    folder, limit = tmp_path, 20_000
  result = subprocess.run(
    [sys.executable, "-c", _SAVE, str(folder / "run"), str(limit)], cwd=ROOT, env=environment(), text=True,
    capture_output=True, timeout=300, check=False,
  )
  assert result.returncode == 1, result.stderr
  assert "Traceback" not in result.stderr
  last = result.stderr.splitlines()[-1]
  assert last.startswith(f"error: cannot write a checkpoint to {folder / 'run' / 'checkpoints'}: ")
  assert "free some space" in last
  assert "the last good checkpoint is none" in last


def test_a_read_only_mount_is_one_line(small_disk):
  folder = small_disk(1_000_000)
  with one_writer(folder / "run"):
    pass
  subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
  with pytest.raises(UserError, match="Read-only file system; make it writable, or choose another --workdir"):
    loop.train(tiny.get_config(), folder / "run")


def test_a_read_only_workdir_is_one_line_without_a_mount_as_well(tmp_path, monkeypatch):
  def fail(path, *_, **__):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

  monkeypatch.setattr(pathlib.Path, "open", fail)
  with pytest.raises(UserError, match="make it writable"):
    loop.train(tiny.get_config(), tmp_path)


def test_data_are_prepared_on_a_full_disk_in_one_line_and_without_a_bus_error(small_disk, tiny_config, monkeypatch):
  tiny_config.data.cache_dir = str(small_disk(40_000))
  with pytest.raises(UserError, match=r"has 4[01](\.\d)? kB free, the prepared data needs 98\.3 kB"):
    prepare(tiny_config.data)
  # Somebody else fills the disk while the data are written.
  monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10**12))
  with pytest.raises(UserError, match=r"No space left on device.*free some space"):
    prepare(tiny_config.data)
  assert not [path for path in pathlib.Path(tiny_config.data.cache_dir).iterdir() if path.is_dir()]


def test_a_source_that_fails_is_not_blamed_on_the_cache(tiny_config, tmp_path, monkeypatch):
  tiny_config.data.cache_dir = str(tmp_path)

  def fail(*_):
    raise OSError(errno.EIO, "Input/output error", "/images/a.png")
    yield

  splits = {name: types.SimpleNamespace(count=3, images=fail()) for name in cache.SPLITS}
  monkeypatch.setattr(cache.SOURCES["folder"], "read", lambda _: splits)
  with pytest.raises(UserError, match=r"cannot read or write /images/a\.png: Input/output error") as error:
    prepare(tiny_config.data)
  assert "space" not in str(error.value)


def test_tensorboard_that_cannot_be_written_ends_and_the_run_goes_on(tmp_path, caplog):
  class Full:
    def write_scalars(self, *_):
      raise RuntimeError("RESOURCE_EXHAUSTED: No space left\nmore")

  writers = Writers(tmp_path, tiny.get_config(), 0)
  vars(writers)["_others"] = {"TensorBoard events": Full()}
  for step in (3, 6):
    writers.write_scalars(step, {"loss": 1.0})
  writers.write_image(6, "grid", np.zeros((2, 2, 3), np.uint8))
  writers.close()
  assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
  (line,) = (record.getMessage() for record in caplog.records if "TensorBoard" in record.getMessage())
  assert line == "no more TensorBoard events: RESOURCE_EXHAUSTED: No space left"
