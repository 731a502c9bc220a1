"""The report of an evaluation: report.json for programs, report.html and report text for people."""

import datetime
import importlib.metadata
import json
import pathlib
import platform
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from prt_jax import devices
from prt_jax.attacks.table import ATTACKS
from prt_jax.data import Dataset
from prt_jax.degradations import make_degradation
from prt_jax.errors import UserError
from prt_jax.evaluation.results import rows
from prt_jax.io.json_files import read_object
from prt_jax.io.pictures import save_png
from prt_jax.io.whole_files import write_arrays, write_json, write_whole
from prt_jax.precision import MEASURING
from prt_jax.reporting import published
from prt_jax.reporting.charts import draw_histogram
from prt_jax.reporting.consistency import about_consistency, about_floors, consistency_floors
from prt_jax.reporting.page import render
from prt_jax.restorers.from_run import Run

# Fields that change no result, or whose meaning stands elsewhere in the protocol. attack.batch_norm is of the search in
# a training step alone: an evaluation normalises by the running averages.
NO_PROTOCOL = (
  "eval.batch_size", "eval.step", "eval.feature_weights", "eval.lpips_weights", "eval.every_steps",
  "eval.watch_examples", "eval.best_by", "attack.seeds_at_once", "attack.batch_norm",
)  # fmt: skip
# What a report of other fields or types than these fails with, wherever it is shown.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Measured(NamedTuple):
  """What an evaluation has measured.

  Attributes:
    results: {name of results.rows(): {"value", "n", and where there are any "std", "interval", ...}}.
    curves: of results.curves.
    examples: {column: [n]}, per-example values.
    missing: one line for everything that could not be measured.
    seconds: {phase: wall-clock seconds}.
  """

  results: dict[str, dict]
  curves: dict[str, list[dict]]
  examples: dict[str, np.ndarray]
  missing: list[str]
  seconds: dict[str, float]


def make(run: Run, dataset: Dataset, protocol: dict, measured: Measured) -> dict:
  """The content of report.json.

  Args:
    run: the evaluated one, at its checkpoint.
    dataset, protocol: what it was evaluated on, and how.
    measured: what came out.
  """
  config, results = run.config, measured.results
  source, numbers = published.row(config)
  return {
    "run": str(run.workdir),
    "step": run.step,
    "variant": published.variant(config),
    "task": task(config),
    "results": results,
    "definitions": {name: row.definition for name, row in rows().items() if name in results},
    "published": {"source": source, "values": numbers},
    "missing": measured.missing,
    "exact_consistency": consistency_floors(make_degradation(config.degradation, config.data.image_size), results),
    "notes": notes(config, results),
    "histograms": {name: histogram_of(measured.examples[name]) for name in ("robustness_db", "lipschitz")},
    "curves": measured.curves,
    "protocol": protocol,
    "config": json.loads(config.to_json()),
    "versions": {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES},
    "hardware": f"{devices.describe()} ({devices.backend()})",
    "data": {"folder": pathlib.Path(dataset.folder or "").name, "train": len(dataset.train), "val": len(dataset.val)},
    "seconds": {phase: round(value, 2) for phase, value in measured.seconds.items()},
    "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
  }


def task(config: ConfigDict) -> str:
  """A config's task in words."""
  degradation = make_degradation(config.degradation, config.data.image_size)
  data = config.data.name if config.data.source == "tfds" else config.data.source
  if len(degradation.image_shape) == 3:
    data += f" {config.data.image_size}x{config.data.image_size}"
  noise = f", measurement noise {degradation.noise_std:g}" if degradation.noise_std else ""
  if degradation.noise_std and degradation.consistency != "exact":
    noise += f", {degradation.consistency} consistency"
  return f"{degradation.title}, {data}{noise}"


def notes(config: ConfigDict, results: dict[str, dict]) -> list[str]:
  """What a reader must know to take the numbers as they are meant."""
  lines = []
  if "frechet" in results and results["frechet"]["label"] == "FID":
    lines.append(
      "FID and KID are torch-fidelity's (TensorFlow's resize, images of 8 bits). Paper A's are piq's, which feeds the "
      "same network otherwise: eval.feature_extractor=inception_piq is what its column is compared with."
    )
  elif "frechet" in results and not results["frechet"]["label"].startswith("FID"):
    lines.append(
      f"{results['frechet']['label']}: a proxy. It is not FID, and neither it nor precision and recall in these "
      "features can be compared with published ones."
    )
  if "recall" in results:
    lines.append(
      f"Precision and recall use k = {config.eval.num_neighbors}; like the Frechet distance they depend on n "
      f"({results['frechet']['n']} restorations, {results['frechet']['n_reference']} training images; the papers "
      "use 50,000 of each)."
    )
  lines.append(
    f"The attack is the training one: {config.attack.num_steps} Adam steps in an L2 ball of radius "
    f"{config.attack.eps:g} over one measurement, averaged over {config.attack.num_seeds} draws of Z. An attack finds "
    "a lower bound of the damage: K is a lower bound of the Lipschitz constant, and robustness an upper bound."
  )
  degradation = make_degradation(config.degradation, config.data.image_size)
  lines += about_consistency(degradation)
  lines += about_floors(consistency_floors(degradation, results))
  if config.model.dtype != MEASURING["dtype"]:
    lines.append(f"The nets were trained in {config.model.dtype} and are measured in {MEASURING['dtype']}.")
  if config.data.source == "sample":
    lines.append("Validation images are crops of five photographs: a demonstration of the report, not a measurement.")
  return lines


def histogram_of(values: np.ndarray) -> dict:
  """Counts of finite values in 40 equal bins between the 0th and the 99.5th percentile, the last one open."""
  low, high = float(np.min(values)), float(np.quantile(values, 0.995))
  edges = np.linspace(low, max(high, low + 1e-6), 41)
  counts, _ = np.histogram(np.minimum(values, edges[-1]), edges)
  return {"edges": edges.tolist(), "counts": counts.tolist()}


def formatted(name: str, value: float) -> str:
  """A result's number as it is shown."""
  _, unit, digits, *_ = rows()[name]
  shown = f"{value:.1e}" if name == "consistency_max_error" and value else f"{value:.{digits}f}"
  return f"{shown} {unit}".strip()


def label(name: str, result: dict) -> str:
  """A result's name as it is shown: distances are called by their features."""
  if name in ("frechet", "kernel_distance"):
    return result["label"]
  if name == "frechet_of_originals":
    return f"{result['label']} of the originals"
  if name == "sqrt_joint_frechet":
    return f"joint index, {result['label']}"
  return rows()[name].label


def spread(name: str, result: dict) -> str:
  """A result's uncertainty in words."""
  if "interval" in result:
    low, high = (formatted(name, value).split()[0] for value in result["interval"])
    return f"{low} to {high}"
  if "standard_error" in result:
    return f"+- {result['standard_error']:.2g} (s.e.)"
  return ""


def text(content: dict) -> str:
  """The table of results for a terminal."""
  source, numbers = content["published"]["source"], content["published"]["values"]
  lines = [f"{content['variant']}, {content['task']}, step {content['step']}"]
  for name, result in content["results"].items():
    beside = f"published {formatted(name, numbers[name])}" if name in numbers else ""
    value = formatted(name, result["value"])
    lines.append(f"  {label(name, result):<56} {value:>12}   {spread(name, result):<26} {beside}".rstrip())
  lines += [f"  published: {source}"] if numbers else []
  return "\n".join(lines + [f"  {line}" for line in content["missing"]])


def write(
  folder: pathlib.Path, content: dict, shown: dict[str, np.ndarray], examples: dict[str, np.ndarray]
) -> None:
  """report.json, report.html, the pictures and examples.npz, each written beside and renamed.

  report.json is the last, and one of before is gone first: where it is, the others are of its evaluation.
  """
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "report.json").unlink(missing_ok=True)
  write_arrays(folder / "examples.npz", examples)
  for name, grid in shown.items():
    save_png(folder / f"{name}.png", grid)
  write_whole(folder / "report.html", page(content, shown))
  write_json(folder / "report.json", content)


def read(folder: pathlib.Path, protocol: dict | None = None) -> dict | None:
  """The content of folder's report.json; None where there is none, or it is of another protocol."""
  path, remedy = folder / "report.json", "delete it and evaluate again"
  try:
    content = read_object(path, remedy)
  except FileNotFoundError:
    return None
  try:
    if "hardware" in content and "precision" not in content["protocol"]:  # before the protocol said it
      on_cpu = content["hardware"].endswith("(cpu)")
      content["protocol"]["precision"] = "highest" if on_cpu else "default"
    if protocol is None:
      return content
    text(content)  # all that is shown of it
    return content if _same(content["protocol"], protocol) else None
  except MALFORMED as error:
    raise UserError(f"{path} is damaged ({type(error).__name__}: {error}): {remedy}") from error


def protocol_fields(group: str, fields: Mapping[str, Any]) -> dict[str, Any]:
  """The fields of config.GROUP that are the protocol's."""
  return {name: value for name, value in fields.items() if f"{group}.{name}" not in NO_PROTOCOL}


def _same(saved: dict, protocol: dict) -> bool:
  """Whether a report's protocol is this one. Of before it had a version, its own fields say."""
  saved = {"eval": {}} | saved
  # Earlier versions wrote some of NO_PROTOCOL as well.
  saved |= {group: protocol_fields(group, saved[group]) for group in ("eval", "attack") if group in saved}
  if "version" not in saved:
    protocol = {name: protocol.get(name) for name in saved}
    protocol["eval"] = {name: protocol["eval"].get(name) for name in saved["eval"]} if protocol["eval"] else {}
  elif "measuring_weights" not in saved:  # which "weights" was of as well
    protocol = {name: value for name, value in protocol.items() if name != "measuring_weights"}
  return saved == json.loads(json.dumps(protocol))  # JSON makes lists of tuples


# Of a curve's measures; the last four are those of judged attacks and of stochastic restorers.
_CURVE = (
  "input_psnr_db", "output_psnr_db", "robustness_db", "lipschitz_max", "lipschitz_worst_draw_max", "late_gain_db",
  "fresh_robustness_db", "w1_coupled", "w1",
)  # fmt: skip


def page(content: dict, shown: dict[str, np.ndarray]) -> str:
  """A self-contained HTML page. shown: the grids "worst" and "first"."""
  numbers = content["published"]["values"]
  known = rows()
  shown_rows = [
    {
      "label": label(name, result),
      "definition": known[name].definition,
      "value": formatted(name, result["value"]),
      "spread": spread(name, result),
      "n": result["n"],
      "published": formatted(name, numbers[name]) if name in numbers else "",
      "better": known[name].better,
    }
    for name, result in content["results"].items()
  ]
  measured = {name for points in content.get("curves", {}).values() for point in points for name in point["results"]}
  curve_names = [name for name in _CURVE if name in measured]
  curves = [
    (ATTACKS[attack], [_cells(point, curve_names) for point in points])
    for attack, points in content.get("curves", {}).items()
  ]
  charts = (
    draw_histogram(content["histograms"]["robustness_db"], "robustness of each input, dB (low: erratic)"),
    draw_histogram(content["histograms"]["lipschitz"], "K of each input under the training attack (high: erratic)"),
  )
  labels = [known[name].label for name in curve_names]
  return render(
    "evaluation.html", content=content, rows=shown_rows, curves=curves, curve_labels=labels, charts=charts, shown=shown
  )


def _cells(point, names):
  results = point["results"]
  values = [formatted(name, results[name]["value"]) if name in results else "" for name in names]
  return [f"{255 * point['alpha']:g}/255", *values, results[names[0]]["n"]]
