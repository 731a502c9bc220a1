"""What a run must be given or will download, and whether it is there now. Looks only: nothing is read or written."""

import pathlib
import shutil
import urllib.parse
from typing import NamedTuple

from ml_collections import ConfigDict

from prt_jax.data.cache import checked_source, find_prepared
from prt_jax.data.sources import is_drawn
from prt_jax.errors import UserError
from prt_jax.features import inception_weights
from prt_jax.features.extractors import check_name
from prt_jax.io.disk_errors import size

THERE, DOWNLOAD, MISSING, LEFT_OUT, FREE = "there", "to download", "missing", "left out", "free"


class Need(NamedTuple):
  """Attributes:
  name: 'data', 'feature weights', 'LPIPS weights', 'evaluation', 'checkpoints' or 'prepared data'.
  state: THERE, DOWNLOAD (the run does it), MISSING (it fails without), LEFT_OUT (it does without) or FREE (disk space).
  text: what, where, and what to do.
  """

  name: str
  state: str
  text: str


def data_needs(data: ConfigDict) -> tuple[dict[str, int] | None, Need, bool]:
  """({"train": images, "val": images} where they are known, the need, whether it is prepared already).

  Raises:
    UserError: a field of data that cannot work wherever it runs; what is not there is a Need.
  """
  source = checked_source(data)
  try:
    if not is_drawn(source) and (prepared := find_prepared(data)):
      folder, counts = prepared[0], prepared[1]["counts"]
      text = f"{counts['train']:,} images to train on, {counts['val']:,} others, prepared in {folder}"
      return counts, Need("data", THERE, text), True
    found = source.look(data)
    if is_drawn(source):
      return found.counts, Need("data", THERE, found.text), True
  except UserError as error:
    return None, Need("data", MISSING, str(error)), False
  state = THERE if found.download_bytes == 0 else DOWNLOAD
  return found.counts, Need("data", state, f"{found.text}; to be prepared once in {data.cache_dir}"), False


def evaluation_needs(config: ConfigDict, counts: dict[str, int] | None) -> list[Need]:
  """The weights and the images that evaluation takes. UserError for an extractor that is none."""
  evaluation = config.eval
  extractor, path, lpips = evaluation.feature_extractor, evaluation.feature_weights, evaluation.lpips_weights
  check_name(extractor)
  needs, cached = [], inception_weights.cached_path(config.data.cache_dir)
  official = extractor in ("inception", "inception_piq")
  if official and not path and not cached.is_file():
    source = f"{inception_weights.NUM_BYTES / 1e6:.0f} MB, {urllib.parse.urlsplit(inception_weights.URL).netloc}"
    text = f"evaluation fetches InceptionV3's ({source}); without a network, name them in eval.feature_weights"
    needs.append(Need("feature weights", DOWNLOAD, text))
  elif extractor != "pixels" and ":" not in extractor:
    needs.append(_file("feature weights", "eval.feature_weights", path or (cached if official else "")))
  if lpips or extractor != "squeezenet" or not path:  # else its own weights serve
    needs.append(_file("LPIPS weights", "eval.lpips_weights", lpips))
  if counts and counts["val"] < evaluation.num_examples:
    text = f"eval.num_examples={evaluation.num_examples}, but there are {counts['val']} validation images"
    needs.append(Need("evaluation", MISSING, f"{text}: set --config.eval.num_examples={counts['val']} or less"))
  return needs


def _file(name, field, path):
  if not str(path):
    return Need(name, LEFT_OUT, f"what is measured with them: {field} names no SqueezeNet 1.1 .npz")
  path = pathlib.Path(path).expanduser()
  return Need(name, THERE, str(path)) if path.is_file() else Need(name, MISSING, f"{field}={path} is no file")


def disk_need(what: str, num_bytes: int, folder: pathlib.Path) -> Need:
  """Whether a folder, which need not be there yet, has room for so many bytes of something."""
  absolute = folder.expanduser().absolute()
  free = shutil.disk_usage(next(parent for parent in (absolute, *absolute.parents) if parent.is_dir())).free
  state = FREE if num_bytes <= free else MISSING
  return Need(what, state, f"{size(num_bytes)} in {folder}, which has {size(free)} free")
