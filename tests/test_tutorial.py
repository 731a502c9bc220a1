"""The tutorial's commands run as they are written, in an empty folder."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)
MODULES = {"prt-audit": "audit", "prt-explore": "explore", "prt-restore": "restore"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Where every block has run, one after the other; the console commands as python -m, of this checkout."""
  folder = tmp_path_factory.mktemp("tutorial")
  (folder / "bin").mkdir()
  for name, module in MODULES.items():
    command = folder / "bin" / name
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m prt_jax.{module} "$@"\n')
    command.chmod(0o755)
  (folder / "bin" / "python").symlink_to(sys.executable)
  path = f"{folder / 'bin'}:{os.environ['PATH']}"
  environment = os.environ | {"PATH": path, "PYTHONPATH": f"{ROOT}:{folder}"}
  (folder / "work").mkdir()
  for block in BLOCKS:
    script = f'python() {{ "{sys.executable}" "$@"; }}\nset -e\n{block}'
    done = subprocess.run(["bash", "-c", script], cwd=folder / "work", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
  return folder / "work"


def test_the_page_names_every_step():
  assert len(BLOCKS) == 5 and sum(block.count("prt-") for block in BLOCKS) == 4


def test_sharpening_grows_a_change_more_than_bicubic(folder):
  reports = [json.loads((folder / name / "report.json").read_text()) for name in ("audit", "audit-bicubic")]
  own, bicubic = (report["lipschitz_lower_bound"] for report in reports)
  assert own > 1.2 * bicubic > 0


def test_pages_and_pictures_are_written(folder):
  assert "consistency" in (folder / "audit" / "report.html").read_text().lower()
  assert len(list((folder / "explore").glob("*.png"))) >= 3
  assert len(list((folder / "restored").glob("*.png"))) >= 3
