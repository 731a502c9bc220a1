"""The image files below a folder: a sorted walk that holds one folder's names at a time, and its digest."""

import hashlib
import os

from prt_jax.data.errors_text import one_line
from prt_jax.errors import UserError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def walk_images(root):
  """Paths of the images below a folder, sorted by their parts; a generator.

  Hidden files and folders, and the __MACOSX folders of macOS's zip files, are left out.
  Links to folders are followed, except back into a folder that contains them.

  Yields:
    str, relative to root.

  Raises:
    UserError: a folder cannot be listed.
  """
  for relative, _ in _walk(os.fspath(root), "", frozenset()):
    yield relative


def digest_images(root):
  """(sha256 of the sorted relative paths, sizes and modification times, number of images); opens no file."""
  digest, count = hashlib.sha256(), 0
  for relative, entry in _walk(os.fspath(root), "", frozenset()):
    try:
      status = entry.stat()
    except OSError as error:
      raise UserError(f"cannot read {entry.path} ({one_line(error.strerror)}): replace or remove it") from error
    digest.update(os.fsencode(relative) + b"\0%d\0%d\n" % (status.st_size, status.st_mtime_ns))
    count += 1
  return digest.hexdigest(), count


def _walk(folder, prefix, ancestors):
  try:
    status = os.stat(folder)
    with os.scandir(folder) as entries:
      entries = sorted(entries, key=lambda entry: entry.name)
  except OSError as error:
    raise UserError(f"cannot list the folder {folder} ({one_line(error.strerror)}): check data.path") from error
  identity = status.st_dev, status.st_ino
  if identity in ancestors:
    return
  for entry in entries:
    if entry.name.startswith(".") or entry.name == "__MACOSX":
      continue
    if entry.is_dir():
      yield from _walk(entry.path, f"{prefix}{entry.name}/", ancestors | {identity})
    elif entry.name.lower().endswith(EXTENSIONS):
      yield prefix + entry.name, entry
