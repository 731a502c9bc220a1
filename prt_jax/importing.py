"""Objects that a user names as package.module:attribute; and modules that are called like their main function."""

import importlib
import inspect
import sys
import types
from collections.abc import Callable
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


def make_callable(module_name: str, function: Callable) -> None:
  """Has a module that is being imported be called like a function of its own.

  prt_jax.audit is a function to whoever has imported prt_jax alone, and the package of python -m prt_jax.audit. An
  import of the package puts it where the function would be: so the package is called.
  """

  class CallableModule(types.ModuleType):
    def __call__(self, *args: Any, **keywords: Any) -> Any:
      return function(*args, **keywords)

  module: Any = sys.modules[module_name]
  module.__class__ = CallableModule
  module.__signature__ = inspect.signature(function)
