"""Some of python -m tests.faults, and that it would see what is lost."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.faults import __main__ as matrix
from tests.faults.cases import CASES
from tests.faults.processes import Lost
from tests.faults.scene import compare

QUICK = (
  "100 flipped bits in checkpoints", "100 flipped bits in prepared data", "killed while it writes a checkpoint 1",
  "killed while it evaluates in the middle 1",
  "the second of two processes is killed",
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
  """A folder in which the quick cases survived, its undisturbed run included."""
  folder = tmp_path_factory.mktemp("faults")
  command = [sys.executable, "-m", "tests.faults", f"--keep={folder}", f"--only={'|'.join(QUICK)}"]
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
  assert result.returncode == 0, result.stdout + result.stderr
  assert result.stdout.count(": survived (") == len(QUICK), result.stdout
  return folder


def test_there_are_cases_of_every_kind():
  assert len(CASES) >= 40
  assert set(QUICK) <= CASES.keys()


def change_line(run):
  path = run / "metrics.jsonl"
  lines = path.read_text().splitlines()
  place = max(number for number, line in enumerate(lines) if "r1" in json.loads(line))  # others are evaluations
  content = json.loads(lines[place])
  content["r1"] = np.nextafter(content["r1"], 1)
  lines[place] = json.dumps(content)
  path.write_text("\n".join(lines) + "\n")


def change_example(run):
  (path,) = run.glob("eval/*/examples.npz")
  with np.load(path) as file:
    examples = dict(file)
  examples["psnr_db"] = np.nextafter(examples["psnr_db"], 0)
  np.savez(path, **examples)


def drop_picture(run):
  next(run.glob("images/*.png")).unlink()


@pytest.mark.parametrize("change", [change_line, change_example, drop_picture])
def test_the_smallest_loss_is_seen(kept, tmp_path, change):
  run = tmp_path / "run"
  shutil.copytree(kept / "reference", run)
  compare(kept / "reference", run)
  change(run)
  with pytest.raises(Lost):
    compare(kept / "reference", run)


def test_a_loss_is_a_line_and_exit_code_1(kept, monkeypatch, capsys):
  def lose(_):
    raise Lost("a bit")

  lose.__module__ = matrix.FAMILIES[0].__name__
  monkeypatch.setitem(CASES, "made up", lose)
  monkeypatch.setattr(matrix, "preload", lambda: None)
  monkeypatch.setattr(sys, "argv", ["faults", "--only=made up", f"--keep={kept}"])
  assert matrix.main() == 1
  assert capsys.readouterr().out.startswith("made up: LOST: a bit (0 s)\n")
