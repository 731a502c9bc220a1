"""The one exception that a user, not a programmer, is meant to read."""

import traceback

_MAX_LINE = 2000  # characters


class UserError(ValueError):
  """A mistake outside the code: a field, a file, a disk, a machine.

  The message is one line that says what is wrong and what to do about it. The
  command line prints it and exits with code 1; it never becomes a traceback.
  It may quote the name of any file: what would break the line, or cannot be printed, is escaped.
  """

  def __init__(self, message: str):
    line = printable(message)
    if len(line) > _MAX_LINE:  # what is wrong stands first, what to do last
      line = f"{line[: _MAX_LINE // 2]} ... {line[-_MAX_LINE // 2 :]}"
    super().__init__(line)


def printable(text: str) -> str:
  """A text as one line that any terminal can show: 'a\\nb' for a file's name with a line break in it."""
  if text.isprintable():
    return text
  return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class UnreadableImage(UserError):
  """One image file of many that cannot be read; `label` is what it is called."""

  def __init__(self, label: str, reason: str):
    super().__init__(f"cannot read the image {label} ({reason}): replace or remove it, or set skip_unreadable")
    self.label = printable(label)


NO_GRADIENT = (
  "the restorer's gradient is zero although its output changes: a search by gradients would call it robust "
  "(does it round, threshold, or stop gradients inside?)"
)


def quote(error: Exception) -> str:
  """What a user's own code raised and where, for a UserError's message: 'ValueError: no weights, mine.py:12'.

  The line named is the innermost one that no installed package holds: the user's, not JAX's.
  """
  frames = traceback.extract_tb(error.__traceback__)
  place = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename), frames[-1])
  first_line = str(error).partition("\n")[0]
  return f"{type(error).__name__}: {first_line}, {place.filename}:{place.lineno}"
