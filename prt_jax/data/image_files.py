"""The image files in or below a folder: a sorted walk that holds the names of one branch at a time, and its digest.

Whatever reads a folder of images walks it here, so that all leave out the same files and say so.
"""

import dataclasses
import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from prt_jax.data.errors_text import one_line
from prt_jax.errors import UserError, printable

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclasses.dataclass
class LeftOut:
  """What a walk passes over: for each reason, how many, and the first by name."""

  counts: dict[str, int] = dataclasses.field(default_factory=dict)
  examples: dict[str, str] = dataclasses.field(default_factory=dict)

  def add(self, reason: str, name: str) -> None:
    """One more."""
    self.counts[reason] = self.counts.get(reason, 0) + 1
    self.examples.setdefault(reason, printable(name))

  def __str__(self):
    """'2 hidden (._a.png), 1 of another kind (notes.txt)'; "" where nothing is left out."""
    return ", ".join(f"{count} {reason} ({self.examples[reason]})" for reason, count in self.counts.items())


def describe_skipped(names: Sequence[str]) -> str:
  """'2 images that cannot be read: a.png, b.png'; of many the first ten."""
  shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
  return f"{len(names)} {'image' if len(names) == 1 else 'images'} that cannot be read: {shown}"


def walk_images(root: Path, left_out: LeftOut | None = None) -> Iterator[str]:
  """Paths of the images below a folder, sorted by their parts; a generator.

  Hidden files and folders (a Mac's ._a.png), the __MACOSX folders of its zip files, files of another kind, and what is
  no regular file (a pipe, which would be waited for) are left out. Links to folders are followed, except back into a
  folder that contains them.

  Args:
    root: the folder.
    left_out: a LeftOut that counts what is passed over, or None.

  Yields:
    str, relative to root.

  Raises:
    UserError: a folder cannot be listed.
  """
  for relative, _ in _walk(os.fspath(root), LeftOut() if left_out is None else left_out):
    yield relative


def list_images(folder: Path, extensions: Collection[str]) -> tuple[list[str], LeftOut]:
  """(sorted names of the images in a folder, not in the folders below; LeftOut).

  Args:
    folder: which one.
    extensions: of an image, in lower case.
  """
  left_out, names = LeftOut(), []
  for entry in _visible(os.fspath(folder), left_out):
    if entry.is_dir():
      left_out.add("folders", entry.name)
    elif reason := _reason_against(entry, extensions):
      left_out.add(reason, entry.name)
    else:
      names.append(entry.name)
  return names, left_out


def digest_images(root: Path) -> tuple[str, int]:
  """(sha256 of the sorted relative paths, sizes and modification times, number of images); opens no file."""
  digest, count = hashlib.sha256(), 0
  for relative, entry in _walk(os.fspath(root), LeftOut()):
    try:
      status = entry.stat()
      size_and_time = b"%d\0%d" % (status.st_size, status.st_mtime_ns)
    except OSError:  # a link that leads nowhere, say: reading it is what fails, or is passed over
      size_and_time = b"missing"
    digest.update(os.fsencode(relative) + b"\0" + size_and_time + b"\n")
    count += 1
  return digest.hexdigest(), count


def _walk(root, left_out):
  """(path relative to root, os.DirEntry) of each image, in order; as deep as the system can name."""
  # Per open folder: its entries that are still to come, its prefix, and which folder it is.
  open_folders = [(_visible(root, left_out), "", _identity(root))]
  while open_folders:
    entries, prefix, _ = open_folders[-1]
    entry = next(entries, None)
    if entry is None:
      open_folders.pop()
    elif entry.is_dir():
      identity = _identity(entry.path)
      if all(identity != ancestor for _, _, ancestor in open_folders):
        open_folders.append((_visible(entry.path, left_out), f"{prefix}{entry.name}/", identity))
    elif reason := _reason_against(entry, EXTENSIONS):
      left_out.add(reason, entry.name)
    else:
      yield prefix + entry.name, entry


def _identity(folder):
  try:
    status = os.stat(folder)
  except OSError as error:
    raise _cannot_list(folder, error) from error
  return status.st_dev, status.st_ino


def _reason_against(entry, extensions):
  """Why a walk passes over an entry that is no folder; "" where it does not."""
  if not entry.name.lower().endswith(extensions):
    return "of another kind"
  # A link that leads nowhere stays: an image is missing, and reading it will say so.
  is_pipe_or_device = not entry.is_file() and os.path.exists(entry.path)
  return "no regular files" if is_pipe_or_device else ""


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
