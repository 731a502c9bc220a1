"""Digests of files, written beside them and compared before they are used: a flipped bit is seen, not trained on."""

import concurrent.futures
import errno
import hashlib
import json
import os
import pathlib

from prt_jax.io.json_files import parse_object

DIGESTS = "digests.json"
_BLOCK = 16 << 20  # bytes that one thread hashes at a time


class Damaged(Exception):
  """Files are not what they were; the text says which and how."""


def digest_file(path: pathlib.Path) -> str:
  """A file's digest: the sha256 of its blocks' sha256s, which all cores work at."""

  def digest_block(start):
    with path.open("rb") as file:
      file.seek(start)
      return hashlib.sha256(file.read(_BLOCK)).digest()

  starts = range(0, path.stat().st_size, _BLOCK)
  if len(starts) < 2:
    return hashlib.sha256(b"".join(map(digest_block, starts))).hexdigest()
  with concurrent.futures.ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1)) as pool:
    return hashlib.sha256(b"".join(pool.map(digest_block, starts))).hexdigest()


def sha256_of(path: str | os.PathLike) -> str:
  """The sha256 of a file as others print it, to be compared with theirs."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def write_digests(folder: pathlib.Path) -> None:
  """Writes the digests of all files in and below a folder into its DIGESTS."""
  files = sorted(path for path in folder.rglob("*") if path.is_file())
  digests = {path.relative_to(folder).as_posix(): digest_file(path) for path in files}
  (folder / DIGESTS).write_text(json.dumps(digests, indent=1) + "\n")


def check_digests(folder: pathlib.Path) -> bool:
  """Whether a folder has DIGESTS, which its files then have.

  Raises:
    Damaged: a file that is missing, changed, or that the disk fails to read; DIGESTS that are no such.
    OSError: another failure to read, which says nothing of the files (permissions, a network that is down).
  """
  try:
    digests = parse_object((folder / DIGESTS).read_bytes())
    for name, digest in digests.items():
      if digest_file(folder / name) != digest:
        raise Damaged(f"{name} has changed")
  except FileNotFoundError as error:
    if pathlib.Path(error.filename).name == DIGESTS:
      return False
    raise Damaged(f"{pathlib.Path(error.filename).name} is missing") from error
  except OSError as error:
    if error.errno not in (errno.EIO, errno.ENOTDIR, errno.EISDIR):
      raise
    raise Damaged(f"{error.filename}: {error.strerror}") from error
  except (ValueError, AttributeError, TypeError) as error:
    raise Damaged(f"its {DIGESTS} is damaged") from error
  return True
