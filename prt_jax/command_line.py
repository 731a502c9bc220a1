"""What the commands beside training share: flags that fail in one line, and exit codes."""

import argparse
import sys
from collections.abc import Callable

from prt_jax.errors import UserError


class Parser(argparse.ArgumentParser):
  """argparse, with every mistake as a UserError: flags are written --NAME=VALUE, in full."""

  def __init__(self, description: str):
    super().__init__(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

  def error(self, message):
    raise UserError(f"{message}; {self.prog} --help lists the flags")


def run(main: Callable[[list[str]], None]) -> None:
  """Calls main with the arguments; a user's mistake becomes one line and exit code 1."""
  try:
    main(sys.argv[1:])
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
