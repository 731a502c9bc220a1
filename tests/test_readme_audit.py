"""The README's audits of a function and of a PyTorch module run as they are written, in five lines and in ten."""

import re

import pytest

from tests.conftest import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def block(marker):
  (found,) = [text for text in BLOCKS if "audit" in text and marker in text]
  return found


@pytest.mark.parametrize(("marker", "most_lines"), [("jax.image.resize", 5), ("torch.nn", 10)])
def test_the_readmes_audit_runs_as_written(marker, most_lines, capsys):
  if "torch" in marker:
    pytest.importorskip("torch", reason="the README audits a PyTorch module: pip install -r requirements-test.txt")
  code = block(marker)
  assert len([line for line in code.splitlines() if line.strip()]) <= most_lines
  exec(compile(code, "README.md", "exec"), {})
  assert float(capsys.readouterr().out.split()[-1 if "torch" in marker else 0]) > 0
