"""The one exception that a user, not a programmer, is meant to read."""


class UserError(ValueError):
  """A mistake outside the code: a field, a file, a disk, a machine.

  The message is one line that says what is wrong and what to do about it. The
  command line prints it and exits with code 1; it never becomes a traceback.
  """
