"""Zip files whose sizes are not believed: of the list of contents, and of what its entries unpack to."""

import functools
import io
import zipfile
from collections.abc import Callable
from typing import IO

from prt_jax.io.weight_files.stored_tensor import Damaged, read_exactly

_MAX_DIRECTORY_BYTES = 4 << 20  # of the list of contents


class _WithSmallDirectory(io.BufferedReader):
  """A file of which no more than _MAX_DIRECTORY_BYTES are read at once, as zipfile does with the list of contents."""

  def read(self, size=-1):
    if size is not None and size > _MAX_DIRECTORY_BYTES:
      raise Damaged("its zip directory is too long")
    return super().read(size)


def open_archive(file: io.BufferedReader) -> zipfile.ZipFile:
  """The archive in an open file; Damaged where it is none."""
  try:
    return zipfile.ZipFile(_WithSmallDirectory(file.raw))
  except zipfile.BadZipFile:
    raise Damaged("its zip directory is missing") from None


def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
  """A member, to be read a block at a time; Damaged where that would not bound the memory it takes."""
  # torch.save and np.savez store or deflate; what is packed in another way is unpacked whole, whatever it comes to.
  if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    raise Damaged(f"{member.filename[:100]} is neither stored nor deflated")
  return archive.open(member)


def read_member(archive: zipfile.ZipFile, name: str, size: int) -> bytearray:
  """All of a member, of that size; Damaged where it has another or its checksum is not its own."""
  return find_member(archive, name, size)()


def find_member(archive: zipfile.ZipFile, name: str, size: int) -> Callable[[], bytearray]:
  """read_member, as a function to be called later; the size that the member claims is compared now."""
  member = archive.getinfo(name)
  if member.file_size != size:
    raise Damaged(f"{name[:100]} has another size than it should")
  return functools.partial(_read, archive, member)


def _read(archive, member):
  with open_member(archive, member) as stream:
    content = read_exactly(stream, member.file_size)
    stream.read(1)  # the end, at which zipfile compares the checksum
  return content
