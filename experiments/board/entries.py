"""Entries of the board: made of an audit's report, checked against the schema, the protocol and each other."""

import importlib.resources
import json
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from prt_jax.errors import UserError
from prt_jax.evaluation import statistics
from prt_jax.io.json_files import read_object

FOLDER = pathlib.Path("docs/board")
SCHEMA_VERSION = 1
ALPHAS = (1, 4, 16)  # of 255
# What every entry was measured with. The border of PSNR-Y is the scale.
PROTOCOL = {
  "alphas_255": list(ALPHAS),
  "num_steps": 50,  # of I-FGSM, paper A's
  "num_strong_steps": 60,  # of each of the stronger attack's two starts
  "num_restarts": 1,
  "num_seeds": 10,  # draws of Z of a stochastic restorer
  "num_jacobian_steps": 10,
  "seed": 0,
  "noise_std": 0.0,
  "degradation": "bicubic",
  "crop": 96,  # pixels of the original, the central square
}
FLAGS = [
  f"--alphas={','.join(map(str, ALPHAS))}",
  *(f"--{name}={value}" for name, value in PROTOCOL.items() if name not in ("alphas_255", "noise_std")),
]
# How many pictures of a set, from the first by name, an entry may be of.
SETS = {"Set5": (5,), "Set14": (14,), "BSD100": (10, 20, 100)}
WHOLE = {name: numbers[-1] for name, numbers in SETS.items()}
ATTACKS = {"ifgsm": "robustness", "strong_sup": "robustness_strong"}  # {attack: field of an audit's report}


def make_entry(report: dict, *, name: str = "", source: str = "", trained_for: str = "", dataset: str = "") -> dict:
  """The entry that an audit's report makes.

  Args:
    report: of prt_jax.audit's report.json.
    name, trained_for: of the restorer; "": its report's, and unknown.
    source: where its weights can be had.
    dataset: a key of SETS; "": the name of the folder that was audited.

  Raises:
    UserError: what keeps it from the board, the first thing of it.
  """
  run = report.get("run")
  if not isinstance(run, dict) or "seconds_an_image" not in run:
    raise UserError(
      "the report does not say how it was made: it is of audit() in Python, of an audit that was stopped, or of an "
      "older version; run python -m prt_jax.audit to its end"
    )
  dataset = dataset or run["set"]
  _check_protocol(protocol_of(report), report, run, dataset)
  if run["weights"] and not source:
    raise UserError(f"--source=URL is missing: where {run['weights']['file']} can be had")
  entry = {
    "schema_version": SCHEMA_VERSION,
    "restorer": name or report["restorer"].removesuffix(f" x{run['scale']}"),  # spandrel's have it in their names
    "trained_for": trained_for,
    "weights": run["weights"] and {"source": source, **run["weights"]},
    "scale": run["scale"],
    "set": dataset,
    "n": report["num_images"],
    "images_sha256": run["images_sha256"],
    "protocol": protocol_of(report) | {"precision": report["protocol"]["precision"]},
    "version": run["version"],
    "hardware": run["hardware"],
    "seconds_an_image": run["seconds_an_image"],
    "measures": measures_of(report),
  }
  check_schema(entry, "the entry")
  return entry


def protocol_of(report: dict) -> dict:
  """The fields of PROTOCOL as an audit had them."""
  own, run = report["protocol"], report["run"]
  strong = own["num_strong_steps"]
  return {
    **{name: own[name] for name in PROTOCOL if name in own},
    "alphas_255": [_whole(255 * alpha) for alpha in own["alphas"]],
    "num_strong_steps": round(1.2 * own["num_steps"]) if strong is None else strong,
    "degradation": run["degradation"],
    "crop": run["crop"],
  }


def _whole(number):
  """A number as an integer where it is one but for rounding."""
  return round(number) if abs(number - round(number)) < 1e-6 else number


def _check_protocol(protocol, report, run, dataset):
  again = f"audit with {' '.join(FLAGS)}"
  for name, wanted in PROTOCOL.items():
    if protocol[name] != wanted:
      raise UserError(f"it has another protocol: {name} is {protocol[name]}, the board's {wanted}: {again}")
  if (norm := report["protocol"].get("norm", "sup")) != "sup":  # older audits knew no other
    raise UserError(f"it has another protocol: its attacks are bounded in {norm}, the board's in the sup norm: {again}")
  if dataset not in SETS:
    raise UserError(f"the set {dataset} is none of the board's, {', '.join(SETS)}: if it is, say so with --set")
  if report["border"] != [run["scale"]]:
    raise UserError(
      f"PSNR-Y leaves out a border of {report['border']}, on the board as wide as the scale, {run['scale']}: {again}"
    )
  if report["num_images"] not in SETS[dataset]:
    numbers = " or ".join(map(str, SETS[dataset]))
    raise UserError(
      f"it is of {report['num_images']} pictures of {dataset}, the board's entries are of its first {numbers}: audit "
      "with the --max_images of one of these"
    )
  if not run["images_sha256"]:
    raise UserError("it was measured without originals (--degradation=none), which PSNR-Y needs")


def measures_of(report: dict) -> dict[str, dict]:
  """{measure: {"value", "n", "interval", ...}} of an audit's images; K's maximum has no interval."""
  images = report["images"]
  found = {name: _mean(images, lambda image, name=name: image[name]) for name in ("psnr_y_db", "consistency_db")}
  for attack, field in ATTACKS.items():
    for index, alpha in enumerate(ALPHAS):
      for name in ("output_psnr_db", "input_psnr_db"):
        measure = _mean(images, lambda image, where=(field, index, name): image[where[0]][where[1]][where[2]])
        found[f"{attack}_{alpha}_{name}"] = measure
  bounds = np.array([image["lipschitz_lower_bound"] for image in images])
  found["lipschitz_median"] = statistics.quantile(bounds, 0.5)
  found["lipschitz_max"] = statistics.quantile(bounds, 1.0)
  if joint := report["joint_index"]:
    found["joint_index"] = {name: joint[name] for name in ("value", "interval", "interval_kind") if name in joint}
    found["joint_index"]["n"] = len(images)
  return found


def _mean(images, value):
  values = [value(image) for image in images]
  if None in values:
    raise UserError(f"{images[values.index(None)]['name']} lacks a measure: audit originals, not measurements")
  return statistics.average(np.array(values))


def check_schema(entry: dict, label: str) -> None:
  """UserError where an entry is not as entry.schema.json says: the place and what is wrong there."""
  try:
    import jsonschema
  except ImportError:
    raise UserError("the board's entries are checked by jsonschema: pip install jsonschema") from None
  schema = json.loads(importlib.resources.files("experiments.board").joinpath("entry.schema.json").read_text())
  error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(entry))
  if error is not None:
    raise UserError(f"{label} is no entry of the board: {error.json_path}: {error.message}")


def check_beside(entry: dict, others: Sequence[dict]) -> None:
  """UserError where an entry is of other pictures than those that it would stand beside, or of another's name."""
  for other in others:
    if _place(other) != _place(entry):
      continue
    if other["images_sha256"] != entry["images_sha256"]:
      raise UserError(
        f"its pictures are not those of the board's {entry['set']}: their pixels differ from {other['restorer']}'s "
        "(another version of the set, or other files beside it)"
      )
    if other["restorer"] == entry["restorer"] and _digest(other) != _digest(entry):
      raise UserError(f"the board has {entry['restorer']} x{entry['scale']} with other weights: choose another --name")


def _place(entry):
  return entry["set"], entry["n"], entry["scale"]


def _digest(entry):
  return entry["weights"] and entry["weights"]["sha256"]


def file_name(entry: dict) -> str:
  """Of an entry: 'set5-imdn-x4.json', 'bsd100-first20-imdn-x4.json'."""
  first = "" if entry["n"] == WHOLE[entry["set"]] else f"-first{entry['n']}"
  name = re.sub(r"[^a-z0-9]+", "-", entry["restorer"].lower()).strip("-")
  return f"{entry['set'].lower()}{first}-{name}-x{entry['scale']}.json"


def read_entries(folder: pathlib.Path) -> list[dict]:
  """All entries of a folder, checked, by the names of their files. UserError for one that is none."""
  entries = []
  for path in sorted(folder.glob("*.json")):
    entry = read_object(path, "remove it, or add it again")
    check_schema(entry, str(path))
    if path.name != file_name(entry):
      raise UserError(f"{path} holds what belongs into {file_name(entry)}: rename it")
    check_beside(entry, entries)
    entries.append(entry)
  return entries
