"""The page of messages quotes messages that exist."""

import ast
import re

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTED = re.findall(r"^`(.+)`\n:   ", PAGE, re.MULTILINE)


def texts(path):
  """Every string of a file's code, with the gaps of f-strings as spaces."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.JoinedStr):
      yield "".join(part.value if isinstance(part, ast.Constant) else " " for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
      yield node.value


def test_every_quoted_message_is_in_the_code():
  files = [path for folder in ("prt_jax", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
  code = " ".join(text for path in files for text in texts(path))
  assert len(QUOTED) > 10
  assert not [message for message in QUOTED if message not in code]
