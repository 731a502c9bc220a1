"""How the errors of other libraries are quoted inside a UserError."""


def one_line(error: object, limit: int = 200) -> str:
  """The text of an exception on one line, cut to `limit` characters; its type's name if it has no text."""
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= limit else text[: limit - 3] + "..."
