"""Which data a run was trained on, kept in its workdir: not where they lay, but what they are."""

import pathlib

from prt_jax.data import Dataset
from prt_jax.errors import UserError
from prt_jax.io.json_files import read_object
from prt_jax.io.whole_files import write_json

FILE = "data.json"


def check_data(workdir: pathlib.Path, dataset: Dataset) -> None:
  """UserError where the workdir's run has other data; says what differs. Runs of before have no record: they go on.

  Equal fingerprints (names, sizes, times, preprocessing) or equal pixels are the same data, wherever they lie.
  """
  path = workdir / FILE
  remedy = "remove it if the data are the run's"
  try:
    theirs = read_object(path, remedy)
  except FileNotFoundError:
    return
  theirs_counts, theirs_digests = theirs.get("counts"), theirs.get("digests")
  if "fingerprint" not in theirs or not isinstance(theirs_counts, dict) or not isinstance(theirs_digests, dict):
    raise UserError(f"{path} cannot be read (it says nothing of the data): {remedy}")
  if theirs["fingerprint"] == dataset.fingerprint or theirs_digests == dataset.digests:
    return
  counts = {"train": len(dataset.train), "val": len(dataset.val)}
  if theirs_counts != counts:
    what = f"{theirs_counts.get('train')} training and {theirs_counts.get('val')} validation images there, "
    what += f"{counts['train']} and {counts['val']} here"
  else:
    changed = " and ".join(
      name for split, name in (("train", "training"), ("val", "validation"))
      if theirs_digests.get(split) != dataset.digests[split]
    )  # fmt: skip
    what = f"as many images, but other {changed} images"
  raise UserError(f"{workdir} holds a run on other data ({what}): restore the data, or choose another --workdir")


def claim_data(workdir: pathlib.Path, dataset: Dataset) -> None:
  """check_data, and a record in a workdir that has none."""
  check_data(workdir, dataset)
  path = workdir / FILE
  if path.exists():
    return
  content = {
    "fingerprint": dataset.fingerprint,
    "counts": {"train": len(dataset.train), "val": len(dataset.val)},
    "digests": dataset.digests,
  }
  write_json(path, content)
