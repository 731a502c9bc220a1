"""Names of configs: which file --config means, what a config is in Python, and that both roads end in one run."""

import pathlib

import pytest

import configs.default
import prt_jax.config
from prt_jax.config import config_file, load
from prt_jax.errors import UserError
from prt_jax.main import default_workdir, with_config_file
from tests.conftest import ROOT

FILES = sorted((ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("options", ["", ":deterministic-erratic", ":stochastic-robust,demo"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_name_is_the_file_of_configs(path, options, monkeypatch, tmp_path):
  """The same fields and the same default workdir, the name from whatever directory."""
  by_path = load(f"{path}{options}")
  monkeypatch.chdir(tmp_path)
  assert config_file(path.stem + options) == f"{path}{options}"
  assert load(path.stem + options).to_dict() == by_path.to_dict()
  assert default_workdir(path.stem + options) == default_workdir(f"configs/{path.name}{options}")


def test_configs_differ_as_their_names_say():
  assert [load(name).degradation.factor for name in ("sr4", "sr8", "sr16")] == [4, 8, 16]
  assert load("inpaint:deterministic-robust").degradation.kind == "inpainting"
  assert load("imagenet_sr4").model.width == 32 and load("imagenet_sr4:demo").model.width == 8
  ellipses = load("toy_ellipses:deterministic-erratic")
  assert ellipses.data.name == "ellipses" and ellipses.optim.robust_weight == 0 and ellipses.is_locked


def test_configs_are_short():
  """What a file changes can be seen at a glance."""
  long = [path.name for path in FILES if len(path.read_text().splitlines()) > 20]
  assert long == ["toy_disk.py"]  # no row of a paper's table: the toys' one place


def test_default_gives_the_names_that_moved():
  for name in configs.default.__all__:
    assert getattr(configs.default, name) is getattr(prt_jax.config, name)


def test_a_file_of_the_users_own(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("mine.py").write_text(
    "from prt_jax import config\n\n\ndef get_config(arg='deterministic-robust'):\n"
    "  mine = config.base()\n  mine.seed = 7\n  return config.finish(mine, arg)\n"
  )
  assert config_file("mine.py:demo") == "mine.py:demo"
  assert (load("mine.py").seed, load("mine.py").model.stochastic) == (7, False)
  assert load("mine.py:stochastic-erratic").model.stochastic


@pytest.mark.parametrize("name", ["sr17", "configs/sr16.py", "sr16.py", "", "configs"])
def test_an_unknown_name_lists_the_names(name, monkeypatch, tmp_path):
  """Also a path that is good in a checkout alone."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / "configs").mkdir()
  for function in (config_file, load):
    with pytest.raises(UserError) as error:
      function(f"{name}:stochastic-robust")
    assert "\n" not in str(error.value) and f"--config={name} is no file" in str(error.value)
    assert "imagenet_sr4, imagenet_sr8, inpaint, sr16, sr4, sr8" in str(error.value)


@pytest.mark.parametrize("flag", ["--config", "-config"])
def test_the_command_line_takes_a_name_in_one_word_or_two(flag):
  path = f"--config={ROOT / 'configs' / 'sr8.py'}:demo"
  rest = ["--workdir=sr8:demo", "sr8:demo"]
  assert with_config_file(["main", f"{flag}=sr8:demo", *rest]) == ["main", path, *rest]
  assert with_config_file(["main", *rest, flag, "sr8:demo", "--mode=eval"]) == ["main", *rest, path, "--mode=eval"]
  for argv in (["main"], ["main", f"{flag}=", *rest], ["main", flag], ["main", "--config.seed=3"]):
    assert with_config_file(argv) == argv
