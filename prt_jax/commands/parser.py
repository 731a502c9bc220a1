"""What the commands beside training share: flags that fail in one line, and exit codes."""

import argparse
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from prt_jax.errors import UserError


class Parser(argparse.ArgumentParser):
  """argparse, with every mistake as a UserError: flags are written --NAME=VALUE, in full."""

  def __init__(self, description: str | None):
    program = pathlib.Path(sys.argv[0])
    super().__init__(
      prog=program.parent.name if program.stem == "__main__" else program.name,
      description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip

  def parse_args(self, *args: Any, **keywords: Any) -> argparse.Namespace:
    """argparse's; a number that is NaN or infinite is a mistake as well."""
    parsed = super().parse_args(*args, **keywords)
    for name, value in vars(parsed).items():
      if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"--{name}={value} is not finite: give a number")
    return parsed

  def error(self, message: str) -> NoReturn:
    """argparse's: as a UserError, where that would end the process."""
    raise UserError(f"{message}; {self.prog} --help lists the flags")


def output_folder(name: str) -> pathlib.Path:
  """The folder that --output names, made if needed. UserError if that cannot be."""
  folder = pathlib.Path(name).expanduser()
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f"cannot use {folder} for the results ({error.strerror}): choose another --output") from error
  return folder


def run(main: Callable[[list[str]], None]) -> None:
  """Calls main with the arguments; a user's mistake becomes one line and exit code 1, Ctrl-C one line and 130."""
  try:
    main(sys.argv[1:])
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
  except KeyboardInterrupt:
    print("stopped by SIGINT: what is written stays", file=sys.stderr)
    sys.exit(130)
