"""What is installed: `make wheel` has put the built wheel into an environment of its own, away from the checkout.

Its commands run from an empty directory here, with the checkout on no path.
"""

import ast
import functools
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from PIL import Image

import prt_jax
from tests.commands import assert_one_line, environment
from tests.conftest import CACHE, ROOT

INSTALLED = ROOT / ".venv" / "wheel"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = sorted((ROOT / "prt_jax").rglob("*.py"))
# Distributions that are imported by another name than theirs.
IMPORTED_AS = {
  "absl-py": "absl", "orbax-checkpoint": "orbax", "pillow": "PIL", "scikit-image": "skimage",
  "pypng": "png", "tensorflow-cpu": "tensorflow",
}  # fmt: skip


@pytest.fixture(scope="module")
def package():
  """The folder of the installed package; fails where it is not that of this checkout."""
  folders = list(INSTALLED.glob("lib/python3*/site-packages"))
  assert folders, "no wheel is installed: make wheel"
  ours = {path.relative_to(ROOT): path.read_bytes() for path in SOURCES}
  ours |= {"prt_jax" / path.relative_to(ROOT): path.read_bytes() for path in (ROOT / "configs").glob("*.py")}
  theirs = {path.relative_to(folders[0]): path.read_bytes() for path in (folders[0] / "prt_jax").rglob("*.py")}
  assert theirs == ours, "the wheel holds other modules than the checkout: make wheel"
  return folders[0]


@pytest.fixture
def installed(package, tmp_path):
  """run(command, *arguments) of the environment, in an empty directory."""

  def run(command, *arguments):
    outside = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    return subprocess.run(
      [INSTALLED / "bin" / command, *arguments], cwd=tmp_path, env=outside, capture_output=True, text=True, timeout=600,
      check=False,
    )

  return run


def test_the_wheel_holds_the_package_alone(package, installed):
  """Nothing else is importable: neither the tests and experiments nor a package called configs."""
  (record,) = package.glob("prt_jax-*.dist-info/RECORD")
  names = {line.partition(",")[0] for line in record.read_text().splitlines()}
  assert {name.partition("/")[0] for name in names if not name.startswith("../")} == {"prt_jax", record.parent.name}
  assert {"prt_jax/py.typed", f"{record.parent.name}/licenses/LICENSE"} <= names
  script = (
    "import importlib.util, sys, prt_jax; print(prt_jax.__file__, prt_jax.__version__, 'jax' in sys.modules, *map("
    "importlib.util.find_spec, ['configs', 'tests', 'experiments', 'benchmarks']))"
  )
  expected = f"{package / 'prt_jax' / '__init__.py'} {prt_jax.__version__} False None None None None"
  assert installed("python", "-c", script).stdout.strip() == expected


def test_its_metadata(package):
  (distribution,) = importlib.metadata.distributions(name="prt_jax", path=[str(package)])
  assert distribution.version == prt_jax.__version__
  assert distribution.metadata["License-Expression"] == "Apache-2.0"
  extras = {"tensorflow", "torch", "spandrel", "view", "wandb", "compile", "test"}
  assert set(distribution.metadata.get_all("Provides-Extra")) == extras


@pytest.mark.parametrize(
  ("command", "flag"),
  [
    ("prt-train", "--[no]distributed"),
    ("prt-restore", "--num_outputs"),
    ("prt-explore", "--min_input_psnr"),
    ("prt-compare", "--output"),
    ("prt-export", "--platforms"),
    ("prt-view", "--max_upload"),
  ],
)
def test_a_command_lists_its_flags(command, flag, installed):
  result = installed(command, "--help")
  assert command in result.stdout and flag in result.stdout, result.stderr


def test_training_from_an_empty_directory(installed, tmp_path):
  """The demo's photographs, with the nets and the search of tests/tiny.py, whose compiled programs it thus finds."""
  fields = {
    "data.cache_dir": CACHE, "train.num_steps": 2, "train.log_every_steps": 1, "train.batch_size": 8,
    "model.width": 2, "model.critic_width": 2, "attack.eps": 0.1, "attack.num_steps": 2,
    "optim.learning_rate": 1e-3, "optim.decay_steps": (6,),
  }  # fmt: skip
  flags = [f"--config.{field}={value}" for field, value in fields.items()]
  result = installed("prt-train", "--config=sr16:stochastic-robust,demo", *flags)
  assert result.returncode == 0, result.stderr
  workdir = tmp_path / "runs" / "sr16-stochastic-robust-demo"
  assert (workdir / "checkpoints" / "2").is_dir()
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  assert [line["step"] for line in lines] == [1, 2]
  assert_one_line(installed("prt-train", "--config=sr17"), "--config=sr17 is no file", "sr16, sr4, sr8")


def test_auditing_a_function_that_lies_where_the_command_is_given(installed, tmp_path):
  (tmp_path / "mine.py").write_text("def enlarge(y):\n  return y.repeat(2, 1).repeat(2, 2)\n")
  (tmp_path / "images").mkdir()
  pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
  Image.fromarray(pixels).save(tmp_path / "images" / "noise.png")
  flags = ["--scale=2", "--alphas=8", "--num_steps=1", "--num_jacobian_steps=0"]
  result = installed("prt-audit", "--restorer=mine:enlarge", "--input=images", "--output=audit", *flags)
  assert result.returncode == 0, result.stderr
  # Each pixel of a change is repeated four times: twice its norm, whatever it is.
  report = json.loads((tmp_path / "audit" / "report.json").read_text())
  assert report["lipschitz_lower_bound"] == pytest.approx(2, rel=1e-4)


def test_requirements_are_those_of_the_package():
  """One list a purpose: where a version changes in one file, it changes in the other."""
  extras = PROJECT["optional-dependencies"]
  assert _requirements("requirements.txt") == {*PROJECT["dependencies"], *extras["tensorflow"]}
  assert _requirements("requirements-test.txt") == set(extras["test"])
  assert _requirements("requirements-compile.txt") == set(extras["compile"])


def _requirements(name):
  lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
  return {line.replace('"', "'") for line in lines if line}


def test_the_package_imports_what_it_depends_on():
  """At the top of a module what every install has; within a function also what an extra brings. No folder beside it."""
  distributions = {name: _names(requirements) for name, requirements in PROJECT["optional-dependencies"].items()}
  always = _names(PROJECT["dependencies"]) | {"prt_jax", *sys.stdlib_module_names}
  extras = ("tensorflow", "torch", "spandrel", "view", "wandb")
  sometimes = always.union(*(distributions[extra] for extra in extras))
  for path in SOURCES:
    tree = ast.parse(path.read_text())
    # What an extra's classes are made of, in files that functions alone import.
    of_extras = (path.parent.name, path.name) in (("networks", "torch_safmn.py"), ("viewer", "page.py"))
    assert of_extras or _imports(tree.body) <= always, path
    assert _imports(ast.walk(tree)) <= sometimes, path
    modules = {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert not any(module.endswith(("torch_safmn", "viewer.page")) for module in modules), path


def _names(requirements):
  names = {re.match("[A-Za-z0-9_-]+", requirement)[0] for requirement in requirements}
  return {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}


def _imports(nodes):
  found = set()
  for node in nodes:
    if isinstance(node, ast.Import):
      found |= {alias.name.partition(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      found.add((node.module or "prt_jax").partition(".")[0])
  return found


def test_the_container_makes_its_environment_once_and_runs_the_demo(tmp_path):
  """What each line of the Dockerfile needs is there when it runs, by make's own account; no image is built."""
  lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
  instructions = [tuple(line.split(maxsplit=1)) for line in lines]
  (python,) = (re.match(r"python:(\d\.\d+)-slim$", what)[1] for name, what in instructions if name == "FROM")
  assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
  first = instructions.index(("COPY", "Makefile requirements.txt ./"))
  assert instructions[first + 1] == ("RUN", "make .venv/package")
  assert instructions[-3:] == [("COPY", ". ."), ("RUN", "touch .venv/package"), ("CMD", '["make", "demo"]')]
  for name in ("Makefile", "requirements.txt"):
    shutil.copy(ROOT / name, tmp_path)
  make = functools.partial(
    subprocess.run, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=True
  )
  assert "-m pip install --quiet -r requirements.txt" in make(["make", "-n", ".venv/package"]).stdout
  (tmp_path / ".venv").mkdir()
  (tmp_path / ".venv" / "package").touch()
  commands = make(["make", "-n", "demo"]).stdout
  assert "-m prt_jax.main --config=configs/sr16.py:stochastic-robust,demo" in commands and "pip" not in commands


def test_the_readme_names_the_containers_commands():
  named = {" ".join(command.split()) for command in re.findall(r"`(docker [^`]+)`", (ROOT / "README.md").read_text())}
  assert named == set(re.search(r"^#   (docker .*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1].split(" && "))
