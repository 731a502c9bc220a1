"""JSON files as crashes and hands leave them: what is not an object, or no text, is an error of one kind."""

import json
import pathlib

from prt_jax.errors import UserError


def parse_object(content: bytes | str) -> dict:
  """The JSON object that a text is; ValueError for anything else, however it is broken."""
  try:
    value = json.loads(content if isinstance(content, str) else content.decode())
  except RecursionError:
    raise ValueError("it is nested too deep") from None
  if not isinstance(value, dict):
    raise ValueError(f"it holds {'null' if value is None else f'a {type(value).__name__}'}, no object")
  return value


def read_object(path: pathlib.Path, remedy: str) -> dict:
  """The JSON object in a file.

  Args:
    path: which file.
    remedy: what to do where it cannot be read, for the error.

  Raises:
    FileNotFoundError, NotADirectoryError: there is no such file.
    UserError: it cannot be read, or holds no object.
  """
  try:
    return parse_object(path.read_bytes())
  except (FileNotFoundError, NotADirectoryError):
    raise
  except OSError as error:
    raise UserError(f"{path} cannot be read ({error.strerror or error}): {remedy}") from error
  except ValueError as error:
    raise UserError(f"{path} cannot be read ({error}): {remedy}") from error
