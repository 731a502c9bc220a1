"""Valid files with a few things changed: strategies of hypothesis."""

import json

from hypothesis import strategies as st

NUMBERS = st.sampled_from([0, 1, -1, 2**31, 2**32 - 1, 2**63, 10**400, 0.5, 1e308, float("nan"), float("inf"), -0.0])
TEXTS = st.sampled_from(["", "a", "\ud800", "a\nb", "\x00", "9" * 5000, "a.b", "é" * 300]) | st.text(max_size=8)
VALUES = st.recursive(
  st.none() | st.booleans() | NUMBERS | TEXTS,
  lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
  max_leaves=6,
)
_EDITS = st.lists(
  st.tuples(st.integers(0, 5), st.integers(0, 1 << 20), st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8)),
  max_size=6,
)


def mutated(files: list[bytes]) -> st.SearchStrategy[bytes]:
  """One of some files, with bits flipped, parts cut, repeated, moved or replaced, and the end missing."""
  return st.builds(_edit, st.sampled_from(files), _EDITS)


def _edit(content, edits):
  for kind, first, second, data in edits:
    place = first % (len(content) + 1)
    end = place + second % 64
    if kind == 0 and content:
      place %= len(content)
      content = content[:place] + bytes([content[place] ^ (1 << second % 8)]) + content[place + 1 :]
    elif kind == 1:
      content = content[:place] + data + content[place + len(data) :]
    elif kind == 2:
      content = content[:place] + data + content[place:]
    elif kind == 3:
      content = content[:place] + content[end:]
    elif kind == 4:
      content = content[:place] + content[place:end] * 3 + content[end:]
    elif kind == 5 and second % 4 == 0:
      content = content[:place]
  return content


def changed_json(documents: list[dict]) -> st.SearchStrategy[bytes]:
  """One of some documents, a value or a name somewhere in it replaced; now and then as bytes of another kind."""
  paths = st.lists(st.integers(0, 99), max_size=4)
  whole = st.builds(_replace, st.sampled_from(documents), paths, VALUES, st.booleans())
  return whole | mutated([json.dumps(document).encode() for document in documents])


def _replace(document, path, value, is_name):
  root = json.loads(json.dumps(document))
  place = root
  for step in path:
    names = list(place) if isinstance(place, dict) else range(len(place))
    if not names:
      break
    name = list(names)[step % len(names)]
    if isinstance(place[name], dict | list) and step is not path[-1]:
      place = place[name]
      continue
    if is_name and isinstance(place, dict):
      place[str(value)] = place.pop(name)
    else:
      place[name] = value
    break
  return json.dumps(root).encode()
