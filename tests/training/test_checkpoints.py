"""Checkpoints that are damaged: seen, named, moved out of the way, and the next older one read."""

import json
import random
import shutil

import jax
import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.io import file_digests
from prt_jax.io.file_digests import DIGESTS, Damaged, check_digests
from prt_jax.training.checkpoints import ITEM, Checkpoints
from prt_jax.training.gan import init_state, make_game

EVERY = 2  # steps from one checkpoint to the next


@pytest.fixture(scope="module")
def state():
  from tests import tiny

  return init_state(make_game(tiny.get_config()))


@pytest.fixture(scope="module")
def written(state, tmp_path_factory):
  """A workdir with checkpoints of steps 2, 4, 6."""
  workdir = tmp_path_factory.mktemp("run")
  checkpoints = Checkpoints(workdir, 3)
  for step in (2, 4, 6):
    checkpoints.save(state.replace(step=np.int32(step)))
  checkpoints.close()
  return workdir


@pytest.fixture
def workdir(written, tmp_path):
  """A copy that a test may damage."""
  shutil.copytree(written, tmp_path / "run")
  return tmp_path / "run"


def resume(workdir, state):
  checkpoints = Checkpoints(workdir, 3)
  try:
    return checkpoints.resume(state, EVERY)
  finally:
    checkpoints.close()


def data_files(workdir, step):
  folder = workdir / "checkpoints" / str(step)
  return [
    path for path in sorted((folder / ITEM).rglob("*"))
    if path.is_file() and path.stat().st_size and path.name != DIGESTS
  ]


def digests_of(workdir, step):
  return workdir / "checkpoints" / str(step) / ITEM / DIGESTS


def flip(path, place, bit):
  content = bytearray(path.read_bytes())
  content[place] ^= 1 << bit
  path.write_bytes(content)


def test_every_flipped_bit_is_seen(workdir):
  rng, files, folder = random.Random(0), data_files(workdir, 6), workdir / "checkpoints" / "6" / ITEM
  assert check_digests(folder)
  for _ in range(100):
    path = rng.choice(files)
    place, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
    flip(path, place, bit)
    with pytest.raises(Damaged, match=f"{path.name} has changed"):
      check_digests(folder)
    flip(path, place, bit)
  assert check_digests(folder)


def largest(workdir, step):
  return max(data_files(workdir, step), key=lambda path: path.stat().st_size)


def truncate(workdir, step):
  path = largest(workdir, step)
  path.write_bytes(path.read_bytes()[:100])


def empty(workdir, step):
  shutil.rmtree(workdir / "checkpoints" / str(step))
  (workdir / "checkpoints" / str(step)).mkdir()


def old(damage):
  """The same to a checkpoint of before digests were written."""

  def damage_old(workdir, step):
    digests_of(workdir, step).unlink()
    damage(workdir, step)

  return damage_old


DAMAGES = {
  "a flipped bit": lambda workdir, step: flip(data_files(workdir, step)[-1], 5, 2),
  "truncated": truncate,
  "a file missing": lambda workdir, step: largest(workdir, step).unlink(),
  "empty": empty,
  "no data": lambda workdir, step: shutil.rmtree(workdir / "checkpoints" / str(step) / ITEM),
  "its digests are no JSON": lambda workdir, step: digests_of(workdir, step).write_bytes(b"\xff"),
  "its digests are null": lambda workdir, step: digests_of(workdir, step).write_text("null"),
  "old, truncated": old(truncate),
  "old, a file missing": old(lambda workdir, step: largest(workdir, step).unlink()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_next_older_good_one_is_used(damage, workdir, state, caplog):
  for step in (6, 4):
    DAMAGES[damage](workdir, step)
  with caplog.at_level("WARNING", logger="absl"):
    found, step = resume(workdir, state)
  assert step == int(found.step) == 2
  assert "checkpoints/6" in caplog.text and "checkpoints/4" in caplog.text
  assert sorted(path.name for path in (workdir / "checkpoints-damaged").iterdir()) == ["4", "6"]
  # Training comes to those steps again, and saves them.
  checkpoints = Checkpoints(workdir, 3)
  checkpoints.save(state.replace(step=np.int32(4)))
  checkpoints.close()
  assert check_digests(workdir / "checkpoints" / "4" / ITEM)
  assert resume(workdir, state)[1] == 4


def test_a_reader_leaves_a_damaged_one_where_it_is(workdir, state):
  truncate(workdir, 6)
  checkpoints = Checkpoints(workdir, 3)
  assert checkpoints.restore_newest(state)[1] == 4
  with pytest.raises(UserError, match=r"checkpoints/6: .* has changed; name another step"):
    checkpoints.restore(state, 6)
  checkpoints.close()
  assert (workdir / "checkpoints" / "6").exists() and not (workdir / "checkpoints-damaged").exists()


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(107, "not connected")])
def test_what_cannot_be_read_is_not_called_damaged(workdir, state, monkeypatch, error):
  def fail(path):
    raise error

  monkeypatch.setattr(file_digests, "digest_file", fail)
  with pytest.raises(UserError, match="check the disk and permissions"):
    resume(workdir, state)
  assert len(list((workdir / "checkpoints").iterdir())) == 3


def test_where_all_are_damaged_a_person_decides(workdir, state):
  for step in (2, 4, 6):
    truncate(workdir, step)
  with pytest.raises(UserError, match=r"no checkpoint in .* can be read \(6: .*; 4: .*; 2: .*move that folder away"):
    resume(workdir, state)
  assert len(list((workdir / "checkpoints").iterdir())) == 3


def test_a_damaged_first_checkpoint_costs_its_interval(workdir, state):
  for step in (4, 6):
    shutil.rmtree(workdir / "checkpoints" / str(step))
  truncate(workdir, 2)
  assert resume(workdir, state)[1] == 0
  assert [path.name for path in (workdir / "checkpoints-damaged").iterdir()] == ["2"]


def test_checkpoints_of_before_go_on(workdir, state):
  for step in (2, 4, 6):
    digests_of(workdir, step).unlink()
  found, step = resume(workdir, state)
  assert step == 6
  np.testing.assert_array_equal(*(
    next(iter(s.critic_params.values()))["bias"] for s in (found, state)
  ))


def test_digests_name_the_files_of_the_state(workdir):
  folder = workdir / "checkpoints" / "6" / ITEM
  names = {path.relative_to(folder).as_posix() for path in data_files(workdir, 6)}
  assert names == json.loads((folder / DIGESTS).read_text()).keys()


def with_interval(state, names):
  """The state with these scalars of its interval alone; unknown ones are (7, 8)."""
  seven = np.float32(7), np.float32(8)
  return state.replace(step=np.int32(8), interval={name: state.interval.get(name, seven) for name in names})


@pytest.mark.parametrize("other", [["seed_std", "robust_gradient_norm"], ["a scalar of later"]])
def test_a_checkpoint_that_measured_other_scalars_goes_on(other, workdir, state):
  """Of before some were measured, or of a later version: the others' sums stay, and all else does."""
  counted = state.replace(interval={name: (np.float32(3), np.float32(2)) for name in state.interval})
  written = with_interval(counted, state.interval.keys() ^ set(other))
  checkpoints = Checkpoints(workdir, 3)
  checkpoints.save(written)
  checkpoints.close()
  found, step = resume(workdir, state)
  assert step == 8 and found.interval.keys() == state.interval.keys()
  for name, sums in found.interval.items():
    assert tuple(map(float, sums)) == ((0, 0) if name in other else (3, 2)), name
  np.testing.assert_array_equal(*(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(s.replace(
    key=None, step=0, interval={}))]) for s in (found, state)))
