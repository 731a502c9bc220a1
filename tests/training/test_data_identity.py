"""A run's data are what they are, not where they lie."""

import json
import os
import shutil

import pytest

from prt_jax.data import prepare
from prt_jax.errors import UserError
from prt_jax.training.checkpoints import check_workdir, claim_workdir
from prt_jax.training.data_identity import FILE, check_data, claim_data
from prt_jax.training.loop import check_run


@pytest.fixture
def config(tiny_config, photographs, tmp_path):
  """Of a copy of the photographs that a test may change, with a cache of its own."""
  shutil.copytree(photographs, tmp_path / "here")
  tiny_config.data.update(path=str(tmp_path / "here"), cache_dir=str(tmp_path / "cache"))
  return tiny_config


def test_moved_or_spelled_otherwise_they_are_the_same(config, tmp_path, monkeypatch):
  run = tmp_path / "run"
  claim_workdir(run, config)
  claim_data(run, prepare(config.data))
  before = (run / FILE).read_bytes()
  (tmp_path / "here").rename(tmp_path / "there")
  os.utime(tmp_path / "there" / "train" / "000.png")  # another fingerprint, the same pixels
  monkeypatch.chdir(tmp_path)
  for path in ("there", "there/", f"{tmp_path}/./there"):
    config.data.path = path
    claim_workdir(run, config)
    claim_data(run, prepare(config.data))
  assert (run / FILE).read_bytes() == before


def test_what_differs_is_said(config, tmp_path):
  run, data = tmp_path / "run", tmp_path / "here"
  claim_workdir(run, config)
  claim_data(run, prepare(config.data))
  (data / "train" / "000.png").write_bytes((data / "train" / "001.png").read_bytes())
  with pytest.raises(UserError, match=r"on other data \(as many images, but other training images\)"):
    claim_data(run, prepare(config.data))
  for name in ("000.png", "003.png"):
    (data / "val" / name).unlink()
  with pytest.raises(UserError, match="24 training and 8 validation images there, 24 and 6 here"):
    check_data(run, prepare(config.data))


def test_a_workdir_of_before_is_known_by_its_path_until_it_is_recorded(config, tmp_path):
  run = tmp_path / "run"
  claim_workdir(run, config)
  config.data.path += "/"
  check_workdir(run, config)
  shutil.copytree(tmp_path / "here", tmp_path / "there")
  config.data.path = str(tmp_path / "there")
  with pytest.raises(UserError, match=r"data\.path is .*here there, .*there here"):
    check_workdir(run, config)
  check_data(run, prepare(config.data))  # nothing to compare with
  claim_data(run, prepare(config.data))
  check_workdir(run, config)


@pytest.mark.parametrize("content", ["null", "{}", '{"fingerprint": 1', "[]"])
def test_a_damaged_record_is_named(config, tmp_path, content):
  (tmp_path / FILE).write_text(content)
  with pytest.raises(UserError, match=rf"{FILE} cannot be read"):
    check_data(tmp_path, prepare(config.data))


def test_the_record_tells_no_place(config, tmp_path):
  claim_data(tmp_path, prepare(config.data))
  assert json.loads((tmp_path / FILE).read_text()).keys() == {"fingerprint", "counts", "digests"}


def test_a_run_without_a_checkpoint_gives_its_place_to_another_but_no_other_program_does(config, tmp_path):
  run = tmp_path / "run"
  claim_workdir(run, config)
  claim_data(run, prepare(config.data))
  config.optim.learning_rate = 0.5
  (run / "checkpoints" / "2").mkdir(parents=True)
  with pytest.raises(UserError, match=r"optim\.learning_rate is 0\.001 there, 0\.5 here"):
    check_run(run, config)
  (run / "checkpoints" / "2").rmdir()
  check_run(run, config)
  claim_workdir(run, config)
  assert not (run / FILE).exists()
  for foreign in ('{"model_type": "bert"}', "[]", "no JSON"):
    (run / "config.json").write_text(foreign)
    with pytest.raises(UserError, match=r"different config|is not a config|config.json cannot be read"):
      check_run(run, config)
    assert (run / "config.json").read_text() == foreign
