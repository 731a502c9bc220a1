"""Objects that a user names as package.module:attribute."""

import importlib
from typing import Any

from prt_jax.errors import UserError, quote


def import_function(name: str) -> Any:
  """The object package.module:attribute. UserError if there is none, or if its module fails to import."""
  module_name, _, attribute = name.partition(":")
  try:
    return getattr(importlib.import_module(module_name), attribute)
  except AttributeError:
    raise UserError(f"{module_name} has no {attribute!r}: name an attribute as package.module:NAME") from None
  # The module is the user's code: whatever it raises is what there is to say.
  except Exception as error:
    raise UserError(f"{name} cannot be imported ({quote(error)})") from error
