"""A few hundred of the cases that `python -m tests.fuzz` throws, and those that once got through."""

import json

import pytest

from prt_jax import compare
from prt_jax.reporting import evaluation_report

pytest.importorskip("hypothesis")

from prt_jax.restorers.from_run import read_config
from tests.fuzz.__main__ import fuzz
from tests.fuzz.kinds import CONFIG, FOLDER, KINDS, LINES, WEIGHTS, image_files, report_document, written

FOUND = [
  # A value of 5,000 characters, quoted in full: a line that no terminal shows.
  ("configs", "config", b'{"seed": "' + b"9" * 5000 + b'"}'),
  ("reports", "metrics", b'{"step": 3}\nnull\n[3]\n"\xff"\n'),
  ("weights", "w.safetensors", (12).to_bytes(8, "little") + b'{"w": null} '),
]


@pytest.mark.parametrize("name", KINDS)
def test_a_few_hundred_cases(name):
  fuzz(name, 200, derandomize=True)


@pytest.mark.parametrize(("kind", "reader", "content"), FOUND)
def test_found_cases(kind, reader, content):
  KINDS[kind].check((reader, content))


def test_the_files_that_are_changed_are_whole():
  """Of a file that no reader takes, every change would be refused at the same first byte."""
  for name, files in WEIGHTS.items():
    for content in files:
      KINDS["weights"].readers[name](content)
  for content in image_files():
    KINDS["images"].readers["image"](content)
  written("config.json", json.dumps(CONFIG).encode())
  assert read_config(FOLDER)
  KINDS["reports"].readers["metrics"](LINES)
  assert (FOLDER / "metrics.jsonl").read_bytes() == LINES[: LINES.index(b'{"step": 9')]
  written("report.json", json.dumps(report_document()).encode())
  assert compare.find(str(FOLDER))["step"] == 9
  assert evaluation_report.read(FOLDER, report_document()["protocol"] | {"precision": "highest"})["step"] == 9
