"""A few hundred of the cases that `python -m tests.fuzz` throws, and those that once got through."""

import pytest

pytest.importorskip("hypothesis")

from tests.fuzz.__main__ import fuzz
from tests.fuzz.kinds import KINDS

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
