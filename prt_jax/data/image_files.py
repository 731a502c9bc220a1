"""The image files in or below a folder: a sorted walk that holds one folder's names at a time, and its digest.

Whatever reads a folder of images walks it here, so that all leave out the same files and say so.
"""

import dataclasses
import hashlib
import os

from prt_jax.data.errors_text import one_line
from prt_jax.errors import UserError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclasses.dataclass
class LeftOut:
  """What a walk passes over: for each reason, how many, and the first by name."""

  counts: dict[str, int] = dataclasses.field(default_factory=dict)
  examples: dict[str, str] = dataclasses.field(default_factory=dict)

  def add(self, reason, name):
    """One more."""
    self.counts[reason] = self.counts.get(reason, 0) + 1
    self.examples.setdefault(reason, name)

  def __str__(self):
    """'2 hidden (._a.png), 1 of another kind (notes.txt)'; "" where nothing is left out."""
    return ", ".join(f"{count} {reason} ({self.examples[reason]})" for reason, count in self.counts.items())


def walk_images(root, left_out=None):
  """Paths of the images below a folder, sorted by their parts; a generator.

  Hidden files and folders (a Mac's ._a.png), the __MACOSX folders of its zip files, and files of another kind are
  left out. Links to folders are followed, except back into a folder that contains them.

  Args:
    root: the folder.
    left_out: a LeftOut that counts what is passed over, or None.

  Yields:
    str, relative to root.

  Raises:
    UserError: a folder cannot be listed.
  """
  for relative, _ in _walk(os.fspath(root), "", frozenset(), left_out or LeftOut()):
    yield relative


def list_images(folder, extensions):
  """(sorted names of the images in a folder, not in the folders below; LeftOut).

  Args:
    folder: which one.
    extensions: of an image, in lower case.
  """
  left_out, names = LeftOut(), []
  for entry in _visible(os.fspath(folder), left_out):
    if entry.is_dir():
      left_out.add("folders", entry.name)
    elif not entry.name.lower().endswith(extensions):
      left_out.add("of another kind", entry.name)
    else:
      names.append(entry.name)
  return names, left_out


def digest_images(root):
  """(sha256 of the sorted relative paths, sizes and modification times, number of images); opens no file."""
  digest, count = hashlib.sha256(), 0
  for relative, entry in _walk(os.fspath(root), "", frozenset(), LeftOut()):
    try:
      status = entry.stat()
    except OSError as error:
      raise UserError(f"cannot read {entry.path} ({one_line(error.strerror)}): replace or remove it") from error
    digest.update(os.fsencode(relative) + b"\0%d\0%d\n" % (status.st_size, status.st_mtime_ns))
    count += 1
  return digest.hexdigest(), count


def _walk(folder, prefix, ancestors, left_out):
  try:
    status = os.stat(folder)
  except OSError as error:
    raise _cannot_list(folder, error) from error
  identity = status.st_dev, status.st_ino
  if identity in ancestors:
    return
  for entry in _visible(folder, left_out):
    if entry.is_dir():
      yield from _walk(entry.path, f"{prefix}{entry.name}/", ancestors | {identity}, left_out)
    elif entry.name.lower().endswith(EXTENSIONS):
      yield prefix + entry.name, entry
    else:
      left_out.add("of another kind", entry.name)


def _visible(folder, left_out):
  """A folder's entries by name, without the hidden ones."""
  try:
    with os.scandir(folder) as entries:
      entries = sorted(entries, key=lambda entry: entry.name)
  except OSError as error:
    raise _cannot_list(folder, error) from error
  for entry in entries:
    if entry.name.startswith(".") or entry.name == "__MACOSX":
      left_out.add("hidden", entry.name)
    else:
      yield entry


def _cannot_list(folder, error):
  return UserError(f"cannot list the folder {folder} ({one_line(error.strerror)}): check its path and permissions")
