"""The cache: read once, whole or not at all, in every way a preparation can end."""

import errno
import fcntl
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import prt_jax
from prt_jax.data import SOURCES, cache, folder_source, partial_folder, prepare
from prt_jax.data.split import Split
from prt_jax.errors import UserError
from prt_jax.io.file_digests import digest_file

# A preparation in a process of its own; argv: config as JSON, seconds an image, moment to die at.
PREPARE = """
import json, os, signal, sys, time
from types import SimpleNamespace
from ml_collections import ConfigDict
from prt_jax.data import SOURCES, folder_source, partial_folder, prepare
from prt_jax.data.split import Split

data, pause, death = ConfigDict(json.loads(sys.argv[1])), float(sys.argv[2]), sys.argv[3]

def slowly(images):
  for image in images:
    time.sleep(pause)
    yield image

def read(data):
  print("reading", flush=True)
  return {name: Split(split.count, slowly(split.images)) for name, split in folder_source.read(data).items()}

if death == "before the rename":
  partial_folder._finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
SOURCES["folder"] = SimpleNamespace(describe=folder_source.describe, read=read)
prepare(data)
"""


@pytest.fixture
def folder_data(tmp_path, make_data, write_images):
  """A config of a folder of 50 images."""
  write_images(tmp_path / "images", [f"{index}.png" for index in range(50)])
  return make_data(path=str(tmp_path / "images"))


@pytest.fixture
def start():
  """start(data, pause, death="never"): such a process; killed at the test's end."""
  processes = []

  def start_one(data, pause, death="never"):
    root = Path(prt_jax.__file__).parents[1]
    command = [sys.executable, "-c", PREPARE, json.dumps(data.to_dict()), str(pause), death]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    return processes[-1]

  yield start_one
  for process in processes:
    process.kill()
    process.communicate()


def wait_for(condition, seconds=20):
  limit = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < limit
    time.sleep(0.005)


def partials(data):
  return list(Path(data.cache_dir).glob(".*.partial.*"))


def finished(data):
  return [path for path in Path(data.cache_dir).glob("*") if not path.name.startswith(".")]


def content(dataset):
  return {path.name: path.read_bytes() for path in dataset.folder.iterdir()}


def elsewhere(data, tmp_path):
  """The same data set, with a cache of its own."""
  other = data.copy_and_resolve_references()
  other.cache_dir = str(tmp_path / "undisturbed")
  return other


def test_the_arrays_are_the_sources_images(folder_data):
  dataset = prepare(folder_data)
  for name, split in folder_source.read(folder_data).items():
    array = getattr(dataset, name)
    assert isinstance(array, np.memmap) and not array.flags.writeable
    np.testing.assert_array_equal(array, list(split.images))
  assert dataset.meta["counts"] == {"train": 40, "val": 10}
  assert dataset.meta["source"] == "folder" and dataset.meta["description"]["layout"] == "tree"
  assert dataset.fingerprint in dataset.folder.name and "folder-images-8px" in dataset.folder.name
  assert sorted(content(dataset)) == ["meta.json", "train.npy", "val.npy"]
  np.testing.assert_array_equal(np.load(dataset.folder / "val.npy", allow_pickle=False), dataset.val)


def test_a_second_call_does_not_read_the_source(folder_data, monkeypatch):
  first = prepare(folder_data)
  monkeypatch.setitem(SOURCES, "folder", SimpleNamespace(describe=folder_source.describe, read=None))
  second = prepare(folder_data)
  assert second.folder == first.folder and second.meta == first.meta
  np.testing.assert_array_equal(second.train, first.train)


def test_a_changed_folder_or_field_is_another_data_set(folder_data, write_images):
  variants = [{}, {"image_size": 4}, {"resize": 16}, {"train_fraction": 0.5}]
  found = []
  for fields in variants:
    data = folder_data.copy_and_resolve_references()
    data.update(fields)
    found.append(prepare(data))
  write_images(Path(folder_data.path), ["new.png"])
  found.append(prepare(folder_data))
  assert len({dataset.folder for dataset in found}) == 5
  assert len(found[-1].train) + len(found[-1].val) == 51


def test_a_prepared_cache_needs_no_package_of_its_source(make_data):
  """A TFDS data set's cache is used where TensorFlow, TFDS, scikit-image and Pillow cannot be imported."""
  data = make_data(source="tfds", name="celeb_a", path="/no/such/folder")
  image = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
  real = SOURCES["tfds"]
  stand_in = SimpleNamespace(
    describe=real.describe, read=lambda _: {name: Split(1, (x for x in [image])) for name in ("train", "val")}
  )
  SOURCES["tfds"] = stand_in
  try:
    prepare(data)
  finally:
    SOURCES["tfds"] = real
  script = """
import json, sys
for package in ("tensorflow", "tensorflow_datasets", "skimage", "PIL"):
  sys.modules[package] = None
from ml_collections import ConfigDict
from prt_jax.data import prepare
print(prepare(ConfigDict(json.loads(sys.argv[1]))).val.sum())
"""
  environment = {**os.environ, "PYTHONPATH": str(Path(prt_jax.__file__).parents[1])}
  command = [sys.executable, "-c", script, json.dumps(data.to_dict())]
  result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
  assert int(result.stdout) == image.sum()


@pytest.mark.parametrize("death", ["while writing", "before the rename"])
def test_a_killed_preparation_leaves_nothing_that_is_used(folder_data, tmp_path, start, death):
  process = start(folder_data, 0.02, death)  # writes for at least a second
  if death == "while writing":
    wait_for(lambda: partials(folder_data) and list(partials(folder_data)[0].iterdir()))
    time.sleep(random.uniform(0, 0.7))
    process.kill()
  assert process.wait(20) == -signal.SIGKILL
  assert len(partials(folder_data)) == 1 and not finished(folder_data)

  disturbed, undisturbed = prepare(folder_data), prepare(elsewhere(folder_data, tmp_path))
  assert content(disturbed) == content(undisturbed)
  assert not partials(folder_data) and finished(folder_data) == [disturbed.folder]


def test_dead_partials_of_any_data_set_go_live_and_foreign_ones_stay(folder_data, start):
  dead = start(folder_data, 0.02, "before the rename")
  assert dead.wait(20) == -signal.SIGKILL
  (left,) = partials(folder_data)
  other = folder_data.copy_and_resolve_references()
  other.image_size = 4
  live = start(other, 0.05)
  wait_for(lambda: any("4px" in path.name and list(path.iterdir()) for path in partials(folder_data)))
  assert not left.exists()
  foreign = Path(folder_data.cache_dir) / ".x-0123.partial.another-host.17-abcd"
  foreign.mkdir()

  third = folder_data.copy_and_resolve_references()
  third.image_size = 2
  prepare(third)
  assert len(partials(folder_data)) == 2 and foreign.exists()
  assert live.wait(20) == 0 and partials(folder_data) == [foreign]


def test_two_at_the_same_time_both_end_well_and_one_reads(folder_data, tmp_path, start):
  processes = [start(folder_data, 0.02), start(folder_data, 0.02)]
  output = "".join(process.communicate(timeout=30)[0] for process in processes)
  assert [process.returncode for process in processes] == [0, 0]
  assert output.count("reading") == 1
  assert content(prepare(folder_data)) == content(prepare(elsewhere(folder_data, tmp_path)))
  assert not partials(folder_data)


def test_without_locks_the_first_to_finish_wins(folder_data, monkeypatch):
  def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", no_locks)
  winner = []

  def read(data):
    splits = folder_source.read(data)

    def images():
      yield from splits["val"].images
      monkeypatch.setitem(SOURCES, "folder", folder_source)
      winner.append(prepare(data))  # another host, faster

    return {"train": splits["train"], "val": Split(splits["val"].count, images())}

  monkeypatch.setitem(SOURCES, "folder", SimpleNamespace(describe=folder_source.describe, read=read))
  dataset = prepare(folder_data)
  assert dataset.folder == winner[0].folder
  np.testing.assert_array_equal(dataset.train, winner[0].train)
  assert not partials(folder_data)


@pytest.mark.parametrize(("given", "word"), [(39, "only 39"), (41, "more")])
def test_a_source_with_another_count_is_not_half_accepted(folder_data, user_error, monkeypatch, given, word):
  def read(data):
    splits = folder_source.read(data)
    images = itertools.islice(itertools.cycle(list(splits["train"].images)), given)
    return {**splits, "train": Split(40, (image for image in images))}

  monkeypatch.setitem(SOURCES, "folder", SimpleNamespace(describe=folder_source.describe, read=read))
  with user_error("promised 40", word):
    prepare(folder_data)
  assert not partials(folder_data) and not finished(folder_data)


def test_files_that_change_while_they_are_read_are_not_accepted(folder_data, user_error, monkeypatch):
  def read(data):
    splits = folder_source.read(data)
    (Path(data.path) / "0.png").touch()
    return splits

  monkeypatch.setitem(SOURCES, "folder", SimpleNamespace(describe=folder_source.describe, read=read))
  with user_error("changed while they were read"):
    prepare(folder_data)
  assert not partials(folder_data) and not finished(folder_data)


def test_a_bad_image_leaves_no_partial_folder(folder_data, user_error):
  (Path(folder_data.path) / "7.png").write_bytes(b"broken")
  with user_error("7.png"):
    prepare(folder_data)
  assert not partials(folder_data) and not finished(folder_data)


def test_a_full_disk_is_one_line_and_leaves_nothing(folder_data, user_error):
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))  # bytes a file; train.npy has 7,808
  try:
    with user_error("data.cache_dir", folder_data.cache_dir, "free some space"):
      prepare(folder_data)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert not partials(folder_data) and not finished(folder_data)


def test_too_little_space_is_said_before_anything_is_read(folder_data, user_error, monkeypatch):
  monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000))
  with user_error("data.cache_dir", "has 1 kB free, the prepared data needs 9.6 kB", "--config.data.cache_dir"):
    prepare(folder_data)
  assert not partials(folder_data) and not finished(folder_data)


@pytest.mark.parametrize("place", ["a file", "a kernel's file system"])
def test_an_unwritable_cache_is_one_line(folder_data, tmp_path, user_error, place):
  (tmp_path / "file").touch()
  folder_data.cache_dir = str(tmp_path / "file" / "cache") if place == "a file" else "/proc/prt_jax"
  with user_error("data.cache_dir", folder_data.cache_dir, "can be written"):
    prepare(folder_data)


def test_the_home_folder_is_expanded(folder_data, tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  folder_data.cache_dir = "~/cache"
  assert prepare(folder_data).folder.parent == tmp_path / "home" / "cache"


def flip(path, place, bit=0):
  content = bytearray(path.read_bytes())
  content[place] ^= 1 << bit
  path.write_bytes(content)


def other_meta(folder, **changes):
  path = folder / "meta.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def int8(folder):
  np.save(folder / "val.npy", np.load(folder / "val.npy").astype(np.int8))


DAMAGES = {
  "no meta.json": lambda folder: (folder / "meta.json").unlink(),
  "no val.npy": lambda folder: (folder / "val.npy").unlink(),
  "empty": lambda folder: [path.unlink() for path in folder.iterdir()],
  "short": lambda folder: os.truncate(folder / "train.npy", 1_000),
  "a flipped pixel": lambda folder: flip(folder / "train.npy", 5_000, 3),
  "a flipped header": lambda folder: flip(folder / "val.npy", 100, 5),
  "int8": int8,
  "meta.json of other data": lambda folder: other_meta(folder, fingerprint="0123456789abcdef"),
  "meta.json of another folder": lambda folder: other_meta(folder, description={"layout": "tree"}),
  "meta.json null": lambda folder: (folder / "meta.json").write_text("null"),
  "meta.json no UTF-8": lambda folder: (folder / "meta.json").write_bytes(b"\xff"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_named_and_prepared_again(folder_data, damage, caplog):
  first = prepare(folder_data)
  before = content(first)
  DAMAGES[damage](first.folder)
  with caplog.at_level("WARNING", logger="absl"):
    assert content(prepare(folder_data)) == before
  assert f"the prepared data in {first.folder} is damaged" in caplog.text
  assert finished(folder_data) == [first.folder] and not partials(folder_data)


@pytest.mark.parametrize("digests", [True, False])
def test_a_damaged_cache_stays_where_its_source_is_gone(folder_data, user_error, monkeypatch, digests):
  """int8 and other shapes are seen without digests as well, which caches of before do not have."""
  def gone(_):
    raise UserError("nothing to read")

  folder = prepare(folder_data).folder
  if not digests:
    meta = json.loads((folder / "meta.json").read_text())
    del meta["digests"]
    (folder / "meta.json").write_text(json.dumps(meta))
    assert prepare(folder_data).digests.keys() == {"train", "val"}
  int8(folder)
  damaged = {path.name: path.read_bytes() for path in folder.iterdir()}
  monkeypatch.setitem(SOURCES, "folder", SimpleNamespace(describe=folder_source.describe, read=gone))
  with user_error(f"the prepared data in {folder} is damaged", "not prepared again: nothing to read"):
    prepare(folder_data)
  assert {path.name: path.read_bytes() for path in folder.iterdir()} == damaged


def test_every_flipped_bit_of_the_arrays_is_seen(folder_data):
  dataset, rng = prepare(folder_data), random.Random(0)
  for _ in range(50):
    path = dataset.folder / rng.choice(["train.npy", "val.npy"])
    place, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
    flip(path, place, bit)
    assert digest_file(path) != dataset.digests[path.stem]
    flip(path, place, bit)
    assert digest_file(path) == dataset.digests[path.stem]


@pytest.mark.parametrize(
  ("fields", "parts"),
  [
    ({"source": "web"}, ["data.source='web'", "tfds, folder, sample"]),
    ({"cache_dir": ""}, ["data.cache_dir is empty"]),
    ({"resize": 4}, ["data.resize=4", "data.image_size=8"]),
    ({"train_fraction": 0.0}, ["data.train_fraction=0.0"]),
    ({"train_fraction": 1.5}, ["data.train_fraction=1.5"]),
    ({"train_fraction": float("nan")}, ["data.train_fraction=nan"]),
    ({"path": ""}, ["data.path is empty"]),
  ],
)
def test_wrong_fields_are_refused_before_anything_is_written(folder_data, user_error, fields, parts):
  folder_data.update(fields)
  with user_error(*parts):
    prepare(folder_data)
  assert not (Path(folder_data.cache_dir).exists() and folder_data.cache_dir)


def test_progress_is_logged_every_few_seconds(folder_data, monkeypatch, caplog):
  clock = iter(range(0, 10_000, 1))
  monkeypatch.setattr("prt_jax.data.progress.time.monotonic", lambda: next(clock))
  with caplog.at_level("INFO", logger="absl"):
    prepare(folder_data)
  assert "prepared 25 of 50 images (50%), 1 images/s" in caplog.text
  assert "prepared 26 of 50" not in caplog.text and "prepared 50 of 50 images (100%)" in caplog.text


def test_an_import_of_the_package_is_light():
  script = "import sys, prt_jax.data; print([m for m in ('tensorflow', 'skimage', 'PIL', 'jax') if m in sys.modules])"
  environment = {**os.environ, "PYTHONPATH": str(Path(prt_jax.__file__).parents[1])}
  result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
  assert result.stdout.strip() == "[]"


def test_interruptions_clean_up(folder_data, monkeypatch):
  def interrupted(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(partial_folder, "_finish", interrupted)
  with pytest.raises(KeyboardInterrupt):
    prepare(folder_data)
  assert not partials(folder_data) and not finished(folder_data)
  assert issubclass(UserError, ValueError)
