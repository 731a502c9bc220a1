"""What docs/results.md says of our numbers is in the files that it names."""

import json
import re

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "results.md").read_text()
NUMBER = re.compile(r"(?<![\w.-])-?\d*,?\d*\.?\d+(?![\w])")


def rows():
  """[artefact, published, ours, resolved, why, command] of each row; 'the same' is the command of the row above."""
  found, source = [], ""
  for line in PAGE.splitlines():
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    if len(cells) == 6 and cells[0] != "artefact" and set(cells[0]) != {"-"}:
      named = re.search(r"\(results/(\w+)\.json\)", f"{cells[2]} {cells[5]}")
      source = named[1] if named else source if cells[5].startswith("the same") else ""
      found.append((cells[0], cells[2], source))
  return found


def numbers(tree):
  """Every number that was measured: not those of protocols, nor of the hundreds of points of curves."""
  if isinstance(tree, dict):
    for name, value in tree.items():
      if name != "protocol":
        yield from numbers(value)
  elif isinstance(tree, list):
    for value in tree:
      yield from numbers(value)
  elif isinstance(tree, int | float) and not isinstance(tree, bool):
    yield float(tree)


@pytest.mark.parametrize(("artefact", "ours", "source"), [row for row in rows() if row[2]])
def test_our_numbers_are_in_the_file(artefact, ours, source):
  held = list(numbers(json.loads((ROOT / "docs" / "results" / f"{source}.json").read_text())))
  text = re.sub(r"\[[^]]*\]\([^)]*\)|at f = 8|x4|x8|of 27 |6 GANs|to 1\b", "", ours)
  for found in NUMBER.findall(text):
    value, digits = float(found.replace(",", "")), len(found.partition(".")[2])
    assert any(round(number, digits) == pytest.approx(value) for number in held), f"{artefact}: {found}"


def test_rows_are_read():
  assert len([row for row in rows() if row[2]]) > 25
