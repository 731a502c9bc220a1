"""Files that are not what was written: flipped bits, truncations, missing parts. Seen, named, and made good."""

import json
import shutil

from prt_jax.data import prepare
from prt_jax.errors import UserError
from prt_jax.io.file_digests import DIGESTS, Damaged, check_digests
from tests.faults import one_layer
from tests.faults.cases import case
from tests.faults.scene import Scene, expect

FLIPS = 100


def flip(path, rng) -> None:
  """Flips one random bit of a file."""
  content = bytearray(path.read_bytes())
  content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
  path.write_bytes(content)


def data_files(workdir, step: int):
  """A checkpoint's files, less its digests."""
  folder = workdir / "checkpoints" / str(step) / "default"
  return [p for p in sorted(folder.rglob("*")) if p.is_file() and p.stat().st_size and p.name != DIGESTS]


def largest(workdir, step: int):
  """A checkpoint's largest file."""
  return max(data_files(workdir, step), key=lambda path: path.stat().st_size)


def prepared(cache):
  """The folder of the one data set in a cache."""
  return next(path.parent for path in cache.glob("*/meta.json"))


@case(f"{FLIPS} flipped bits in checkpoints")
def _checkpoint_bits(scene: Scene):
  run, missed = scene.copy_reference(), []
  for _ in range(FLIPS):
    step = scene.rng.choice([16, 20, 24])
    path = scene.rng.choice([*data_files(run, step), largest(run, step)])
    before = path.read_bytes()
    flip(path, scene.rng)
    try:
      check_digests(run / "checkpoints" / str(step) / "default")
      missed.append(path.name)
    except Damaged:
      pass
    path.write_bytes(before)
  expect(not missed, f"{len(missed)} of {FLIPS} not seen")


@case(f"{FLIPS} flipped bits in prepared data")
def _cache_bits(scene: Scene):
  config = one_layer.get_config()
  with config.unlocked():
    config.data.update(path=str(scene.data), cache_dir=str(scene.folder / "cache"))
  folder = prepare(config.data).folder
  originals = {path: path.read_bytes() for path in folder.iterdir()}
  arrays, changed = [path for path in originals if path.suffix == ".npy"], []
  for _ in range(FLIPS):
    flip(scene.rng.choice(arrays), scene.rng)
    dataset = prepare(config.data)
    if any(path.read_bytes() != originals[path] for path in arrays) or dataset.train.shape != (24, 32, 32, 3):
      changed.append(1)
  expect(not changed, f"{len(changed)} of {FLIPS} not seen")


def damaged_newest(damage):
  """A case: the newest checkpoint damaged; it is named, and the run goes on from the one before."""

  def function(scene: Scene):
    run = scene.copy_reference(steps=(16, 20))
    damage(run, scene.rng)
    process = scene.finish()
    expect("damaged" in process.text() and "at step 16 of 24" in process.text(), "it was not named")
    scene.compare()

  return function


case("a flipped bit in the newest checkpoint")(damaged_newest(lambda run, rng: flip(largest(run, 20), rng)))
case("the newest checkpoint truncated")(
  damaged_newest(lambda run, rng: largest(run, 20).write_bytes(largest(run, 20).read_bytes()[: rng.randrange(200)]))
)


def _empty(run, _):
  shutil.rmtree(run / "checkpoints" / "20")
  (run / "checkpoints" / "20").mkdir()


case("the newest checkpoint empty")(damaged_newest(_empty))
case("a file of the newest checkpoint missing")(damaged_newest(lambda run, _: largest(run, 20).unlink()))


@case("all checkpoints damaged")
def _all(scene: Scene):
  run = scene.copy_reference(steps=(16, 20))
  for step in (16, 20):
    flip(largest(run, step), scene.rng)
  scene.refused(scene.start(), "can be read", "16:", "20:")
  expect(len(list((run / "checkpoints").glob("[0-9]*"))) == 2, "checkpoints were removed")


def damaged_data(damage):
  """A case: the prepared data damaged between two runs; prepared again, and the run goes on."""

  def function(scene: Scene):
    scene.copy_reference(steps=(16, 20))
    cache = scene.fresh_cache()
    shutil.copytree(prepared(scene.cache), cache / prepared(scene.cache).name)
    damage(prepared(cache), scene.rng)
    process = scene.finish(cache=cache)
    expect("preparing it again" in process.text(), "it was not named")
    scene.compare()

  return function


def _other_meta(folder, _):
  meta = json.loads((folder / "meta.json").read_text())
  (folder / "meta.json").write_text(json.dumps(meta | {"fingerprint": "0" * 16}))


case("a flipped bit in the prepared data")(damaged_data(lambda folder, rng: flip(folder / "train.npy", rng)))
case("the prepared data truncated")(
  damaged_data(lambda folder, rng: (folder / "val.npy").write_bytes(b"\x93NUMPY" * rng.randrange(9)))
)
case("prepared data without meta.json's end")(damaged_data(lambda folder, _: (folder / "meta.json").write_text('{"')))
case("prepared data with another set's meta.json")(damaged_data(_other_meta))


@case("a torn last line of metrics.jsonl")
def _torn(scene: Scene):
  run = scene.copy_reference(steps=(16, 20))
  with (run / "metrics.jsonl").open("a") as file:
    file.write('{"step": 24, "critic_lo')
  scene.same()


@case("config.json and data.json truncated")
def _records(scene: Scene):
  for name in ("config.json", "data.json"):
    scene.start_case(name)
    run = scene.copy_reference(steps=(16, 20))
    path, whole = run / name, (run / name).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    scene.refused(scene.start(), name)
    path.write_bytes(whole)
  scene.same()


@case("the pass of an evaluation damaged")
def _pass(scene: Scene):
  scene.copy_reference()
  process = scene.start("--config.eval.batch_size=1", mode="eval")
  columns = scene.run / "eval" / "24" / "columns"
  if process.until(lambda: any(columns.glob("*/*.npz"))):
    process.kill()
  for path in columns.glob("*/*.npz"):
    path.write_bytes(path.read_bytes()[:50])
  scene.finish()
  scene.compare()


def damage_cache_of_programs(cache, rng) -> None:
  """Flips a bit in every compiled program and truncates some."""
  for path in cache.iterdir():
    if path.is_file() and path.stat().st_size:
      flip(path, rng)
      if rng.random() < 0.3:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@case("compiled programs damaged")
def _programs(scene: Scene):
  scene.copy_reference(steps=(16, 20))
  cache = scene.folder / "cache"
  shutil.copytree(scene.cache, cache)
  damage_cache_of_programs(cache / "xla", scene.rng)
  try:
    scene.same(cache=cache)
  except UserError as error:
    raise AssertionError from error
