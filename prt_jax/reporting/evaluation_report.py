"""The report of an evaluation: report.json for programs, report.html and report text for people."""

import base64
import datetime
import html
import importlib.metadata
import io
import json
import pathlib
import platform

import numpy as np
from PIL import Image

from prt_jax import devices
from prt_jax.attacks.table import ATTACKS
from prt_jax.degradations import make_degradation
from prt_jax.errors import UserError
from prt_jax.evaluation.results import RESULTS
from prt_jax.io.json_files import read_object
from prt_jax.io.pictures import save_png
from prt_jax.precision import MEASURING
from prt_jax.reporting import published
from prt_jax.reporting.consistency import about_consistency, about_floors, consistency_floors
from prt_jax.reporting.page import PAGE, histogram

# Fields of config.eval that change no result, or whose meaning stands elsewhere in the protocol.
NO_PROTOCOL = ("batch_size", "step", "feature_weights", "lpips_weights")
# What a report of other fields or types than these fails with, wherever it is shown.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def make(game, workdir: pathlib.Path, step: int, dataset, protocol, results, examples, missing, seconds) -> dict:
  """The content of report.json.

  Args:
    game: the evaluated one.
    workdir, step: which checkpoint.
    dataset, protocol: what it was evaluated on, and how.
    results: {name of RESULTS: {"value", "n", and where there are any "std", "interval", ...}}.
    examples: {column: [n]}, per-example values.
    missing: one line for everything that could not be measured.
    seconds: {phase: wall-clock seconds}.
  """
  config = game.config
  source, numbers = published.row(config)
  return {
    "run": str(workdir),
    "step": step,
    "variant": published.variant(config),
    "task": task(config),
    "results": {name: results[name] for name in RESULTS if name in results},
    "definitions": {name: RESULTS[name].definition for name in RESULTS if name in results},
    "published": {"source": source, "values": numbers},
    "missing": missing,
    "exact_consistency": consistency_floors(make_degradation(config.degradation, config.data.image_size), results),
    "notes": notes(config, dataset, results),
    "histograms": {name: histogram_of(examples[name]) for name in ("robustness_db", "lipschitz")},
    "protocol": protocol,
    "config": json.loads(config.to_json()),
    "versions": {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES},
    "hardware": f"{devices.describe()} ({devices.backend()})",
    "data": {"folder": dataset.folder.name, "train": len(dataset.train), "val": len(dataset.val)},
    "seconds": {phase: round(value, 2) for phase, value in seconds.items()},
    "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
  }


def task(config) -> str:
  """A config's task in words."""
  degradation = make_degradation(config.degradation, config.data.image_size)
  data = config.data.name if config.data.source == "tfds" else config.data.source
  if len(degradation.image_shape) == 3:
    data += f" {config.data.image_size}x{config.data.image_size}"
  noise = f", measurement noise {degradation.noise_std:g}" if degradation.noise_std else ""
  if degradation.noise_std and degradation.consistency != "exact":
    noise += f", {degradation.consistency} consistency"
  return f"{degradation.title}, {data}{noise}"


def notes(config, dataset, results) -> list[str]:
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
  unit, digits = RESULTS[name].unit, RESULTS[name].digits
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
  return RESULTS[name].label


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


def write(folder: pathlib.Path, content: dict, shown: dict[str, np.ndarray]) -> None:
  """report.json, report.html and the pictures, each written beside and renamed."""
  for name, grid in shown.items():
    save_png(folder / f"{name}.png", grid)
  replace(folder / "report.html", page(content, shown))
  replace(folder / "report.json", json.dumps(content, indent=2, allow_nan=False) + "\n")


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


def _same(saved: dict, protocol: dict) -> bool:
  """Whether a report's protocol is this one. Of before it had a version, its own fields say."""
  saved = saved | {"eval": {name: value for name, value in saved.get("eval", {}).items() if name not in NO_PROTOCOL}}
  if "version" not in saved:
    protocol = {name: protocol.get(name) for name in saved}
    protocol["eval"] = {name: protocol["eval"].get(name) for name in saved["eval"]} if protocol["eval"] else {}
  return saved == json.loads(json.dumps(protocol))  # JSON makes lists of tuples


def page(content: dict, shown: dict[str, np.ndarray]) -> str:
  """A self-contained HTML page."""
  numbers = content["published"]["values"]
  rows = []
  for name, result in content["results"].items():
    better, what = RESULTS[name].better, RESULTS[name].definition
    cells = (
      f"<th>{html.escape(label(name, result))}<small>{html.escape(what)}</small></th>",
      f"<td class=number>{formatted(name, result['value'])}</td>",
      f"<td>{spread(name, result)}</td>",
      f"<td class=number>{result['n']:,}</td>",
      f"<td class=number>{formatted(name, numbers[name]) if name in numbers else ''}</td>",
      f"<td>{better}</td>",
    )
    rows.append(f"<tr>{''.join(cells)}</tr>")
  charts = (
    histogram(content["histograms"]["robustness_db"], "robustness of each input, dB (low: erratic)"),
    histogram(content["histograms"]["lipschitz"], "K of each input under the training attack (high: erratic)"),
  )
  seconds = ", ".join(f"{phase.replace('_', ' ')} {value:g} s" for phase, value in content["seconds"].items())
  versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
  fields = {
    "title": html.escape(f"{content['variant']}, {content['task']}"),
    "subtitle": html.escape(f"step {content['step']:,} of {content['run']}, {content['created']}"),
    "published": html.escape(content["published"]["source"]),
    "rows": "\n".join(rows),
    "notes": "".join(f"<li>{html.escape(line)}</li>" for line in content["notes"]),
    "missing": "".join(f"<li class=missing>{html.escape(line)}</li>" for line in content["missing"]),
    "curves": _curves(content.get("curves", {})),
    "charts": "\n".join(charts),
    "worst": _embedded(shown["worst"]),
    "first": _embedded(shown["first"]),
    "protocol": html.escape(json.dumps(content["protocol"], indent=2)),
    "config": html.escape(json.dumps(content["config"], indent=2)),
    "machine": html.escape(f"{content['hardware']}; {versions}; {seconds}"),
  }
  return PAGE.substitute(fields)


_CURVE = ("input_psnr_db", "output_psnr_db", "robustness_db", "lipschitz_max", "lipschitz_worst_draw_max")


def _curves(curves: dict) -> str:
  """A table of the sup-norm attacks, a row a bound."""
  rows = []
  for attack, points in curves.items():
    for point in points:
      values = [formatted(name, point["results"][name]["value"]) for name in _CURVE]
      n = point["results"][_CURVE[0]]["n"]
      cells = "".join(f"<td class=number>{cell}</td>" for cell in (f"{255 * point['alpha']:g}/255", *values, n))
      rows.append(f"<tr><th>{ATTACKS[attack].title}</th>{cells}</tr>")
  if not rows:
    return ""
  header = "".join(f"<th>{name}</th>" for name in ("attack", "bound", *(RESULTS[name].label for name in _CURVE), "n"))
  notes = "".join(f"<li>{ATTACKS[attack].title}: {html.escape(ATTACKS[attack].definition)}</li>" for attack in curves)
  return (
    f"<h2>Attacks in the sup norm</h2><table><thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    f"<ul>{notes}</ul>"
  )


def _embedded(image: np.ndarray) -> str:
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, format="png", optimize=True)
  return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def replace(path: pathlib.Path, content: str) -> None:
  """Writes a text file beside and renames it, so that a reader never sees half of it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix(".partial")
  partial.write_text(content)
  partial.replace(path)
