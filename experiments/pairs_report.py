"""The table, statistics, JSON and figure of experiments/pairs.py, from what is in its workdir."""

import argparse
import json
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats
from matplotlib.ticker import ScalarFormatter

from experiments import pairs
from experiments.figures import BLUE, GREY, VERMILLION, new_figure, place_labels, save_figure
from experiments.real_restorers import read_measurements
from experiments.results import format_table, write_results
from prt_jax.errors import UserError
from prt_jax.evaluation.statistics import average
from prt_jax.io.whole_files import write_json
from prt_jax.metrics.joint import joint_frechet_distance

# (a, b): what is said is a minus b, on the same pictures. Of each architecture what the loss does after as many steps,
# then what each fine-tuning has changed.
COMPARISONS = tuple(
  (f"{architecture}_{a}" if a else architecture, f"{architecture}_{b}" if b else architecture)
  for architecture in ("srgan", "imdn")
  for a, b in (("gan", "l1"), ("l1", None), ("gan", None))
)
# K: the largest of both attacks' at a bound and the Jacobian's.
MEASURES = ("psnr_y_db", "consistency_db", "output_psnr_db", "strong_output_psnr_db", "K")
GROUPS = 5  # of pictures, for the jackknife
# Where a label stands, from its point: no two overlap.
LABELS = {
  "srgan": "SRGAN, published", "srgan_l1": "SRGAN + L1", "srgan_gan": "SRGAN + GAN",
  "imdn": "IMDN, published", "imdn_l1": "IMDN + L1", "imdn_gan": "IMDN + GAN",
}  # fmt: skip
MARKERS = {None: "o", "l1": "s", "gan": "^"}
COLORS = {"srgan": VERMILLION, "imdn": BLUE}


def report(args: argparse.Namespace, seconds: float) -> dict:
  """Prints the tables; writes pairs.json and pairs.png. UserError where nothing is complete."""
  results = {"protocol": protocol(args), "joint": joint_indices(args.workdir / "features"), "bounds": {}}
  for alpha in args.alphas:
    lines = []
    for images in args.held_out:
      mine = read_measurements(args.workdir / "attacks" / images.name / "measurements.jsonl")
      names = pairs.complete_images(mine, alpha)
      lines += [line for line in mine if line["image"] in names and line["alpha_255"] == alpha]
    if lines:
      results["bounds"][str(alpha)] = summarise(lines)
  if not results["bounds"]:
    raise UserError(f"{args.workdir}: no picture has been attacked on all networks yet; --only=measure does it")
  for alpha, bound in results["bounds"].items():
    print(f"\nalpha = {alpha}/255, {len(bound['images'])} pictures\n\n{render(bound, results['joint'])}")
  write_results(args.out, "pairs", results, seconds)
  draw(results, args.out)
  return results


def protocol(args: argparse.Namespace) -> dict:
  """What was done, and how each network was trained: the recipe, and the last line of its log."""
  trained = {}
  for name in pairs.TRAINED:
    folder = args.workdir / "training" / name
    recipe = json.loads((folder / "recipe.json").read_text())
    trained[name] = {"recipe": recipe, "last": read_measurements(folder / "metrics.jsonl")[-1]}
  return {
    "trained_on": args.images.name if args.images.name != "train" else args.images.parent.name,
    "held_out": [folder.name for folder in args.held_out], "crop": args.crop,
    "joint_images": args.joint_images.name, "joint_features": "SqueezeNet 1.1", "square": pairs.SIDE,
    "trainings": trained,
  }  # fmt: skip


def summarise(lines: Sequence[Mapping]) -> dict:
  """One bound: {"images", "networks": {name: {measure: mean, ...}}, "differences": {"a - b": {measure: ...}}}."""
  images = sorted({line["image"] for line in lines})
  values = {}
  for line in lines:
    steepest = max(line["lipschitz"], line["strong_lipschitz"], line["lipschitz_from_jacobian"])
    found = {measure: line[measure] for measure in MEASURES if measure != "K"} | {"K": steepest}
    for measure, value in found.items():
      values.setdefault((line["network"], measure), {})[line["image"]] = value
  columns = {key: np.array([own[image] for image in images]) for key, own in values.items()}
  networks = {
    name: {measure: average(columns[name, measure]) | {"per_image": columns[name, measure].tolist()}
           for measure in MEASURES}
    for name in pairs.NETWORKS
  }  # fmt: skip
  differences = {
    f"{a} - {b}": {measure: paired(columns[a, measure], columns[b, measure]) for measure in MEASURES}
    for a, b in COMPARISONS
  }
  return {"images": images, "networks": networks, "differences": differences}


def paired(a: np.ndarray, b: np.ndarray) -> dict:
  """a - b over pictures: the mean, its bootstrap interval, how many are above 0, and the exact two-sided sign test."""
  difference = a - b
  above, unequal = int(np.sum(difference > 0)), int(np.sum(difference != 0))
  p = scipy.stats.binomtest(above, unequal).pvalue if unequal else 1.0
  return average(difference) | {"above_0": above, "sign_test_p": float(p)}


def joint_indices(folder: pathlib.Path) -> dict:
  """{"networks": {name: {"value", "n"}}, "differences": {"a - b": {"value", "standard_error", "interval"}}}."""
  found = {name: indices_of(folder / f"{name}.npz") for name in pairs.NETWORKS}
  arrays = {name: np.array(own["indices"]) for name, own in found.items()}
  return {
    "networks": {name: {"value": own["indices"][0], "n": own["n"]} for name, own in found.items()},
    "differences": {f"{a} - {b}": jackknife_difference(arrays[a], arrays[b]) for a, b in COMPARISONS},
  }


def indices_of(path: pathlib.Path) -> dict:
  """{"indices": jackknife's list, "n": squares} of a file of features, kept beside it: it takes half a minute."""
  if not path.exists():
    raise UserError(f"{path} is missing: the same command with --only=measure writes it")
  kept = path.with_suffix(".json")
  if not kept.exists() or kept.stat().st_mtime < path.stat().st_mtime:
    with np.load(path) as arrays:
      features = dict(arrays)
    groups = np.array_split(np.unique(features["image"]), GROUPS)
    write_json(kept, {"indices": jackknife(features, groups).tolist(), "n": len(features["image"])})
  return json.loads(kept.read_text())


def jackknife(features: Mapping[str, np.ndarray], groups: Sequence[np.ndarray]) -> np.ndarray:
  """The joint index of all squares, then that without each group of pictures: [1 + G]."""
  keep = [np.ones(len(features["image"]), bool), *(~np.isin(features["image"], group) for group in groups)]
  return np.array([index(*(features[name][rows] for name in ("original", "measurement", "restored"))) for rows in keep])


def index(original: np.ndarray, measurement: np.ndarray, restored: np.ndarray) -> float:
  """The root of the joint Frechet distance of features [N, D]."""
  return math.sqrt(max(joint_frechet_distance(original, measurement, restored), 0.0))


def jackknife_difference(a: np.ndarray, b: np.ndarray) -> dict:
  """a - b of jackknife's arrays, the standard error over groups of pictures, and the interval of two of them."""
  difference = a - b
  without = difference[1:]
  error = math.sqrt((len(without) - 1) * np.var(without))
  value = float(difference[0])
  interval = [value - 2 * error, value + 2 * error]
  return {"value": value, "standard_error": error, "interval": interval,
          "interval_kind": f"2 jackknife standard errors, {len(without)} groups of pictures"}  # fmt: skip


def render(bound: Mapping, joint: Mapping) -> str:
  """Two tables: the networks, and the paired differences with their intervals."""
  header = ["network", "joint index", *MEASURES]
  rows = [
    [name, joint["networks"][name]["value"], *(own[measure]["value"] for measure in MEASURES)]
    for name, own in bound["networks"].items()
  ]
  text, n = format_table(header, rows), len(bound["images"])
  rows = []
  for name, own in bound["differences"].items():
    cells = [_interval(joint["differences"][name])]
    cells += [f"{_interval(own[measure])} ({own[measure]['above_0']}/{n} > 0)" for measure in MEASURES]
    rows.append([name, *cells])
  return text + "\n\n" + format_table(["difference", "joint index", *MEASURES], rows)


def _interval(found):
  low, high = found["interval"]
  return f"{found['value']:+.2f} [{low:+.2f}, {high:+.2f}]"


def draw(results: Mapping, folder: pathlib.Path) -> pathlib.Path:
  """K against the joint index at the smallest bound, an arrow from each published network to what it became."""
  alpha = min(results["bounds"], key=float)
  networks, joint = results["bounds"][alpha]["networks"], results["joint"]["networks"]
  figure, axes = new_figure(1, 1, 5.2, 3.9)
  points = {name: (joint[name]["value"], networks[name]["K"]["value"]) for name in pairs.NETWORKS}
  for name, (architecture, loss) in pairs.NETWORKS.items():
    x, y = points[name]
    low, high = networks[name]["K"]["interval"]
    color = COLORS[architecture]
    axes.errorbar(
      x, y, [[y - low], [high - y]], fmt=MARKERS[loss], color=color, elinewidth=0.7, capsize=2, ecolor=GREY,
      markersize=6, zorder=3,
    )  # fmt: skip
    if loss:
      axes.annotate(
        "", (x, y), points[architecture], zorder=2,
        arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1, "shrinkA": 5, "shrinkB": 5},
      )  # fmt: skip
  axes.set_yscale("log")
  for ticks in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
    ticks(ScalarFormatter())
  axes.set(
    xlabel="joint index (root of the joint Frechet distance, SqueezeNet features)",
    ylabel=f"K (attacks at {alpha}/255, Jacobian), mean over pictures",
  )
  axes.margins(x=0.2, y=0.12)
  covered = [points[architecture] + share * (np.array(points[name]) - points[architecture])
             for name, (architecture, _) in pairs.NETWORKS.items() for share in np.linspace(0, 1, 15)]  # fmt: skip
  for name, (x, _) in points.items():
    covered += [(x, y) for y in np.linspace(*networks[name]["K"]["interval"], 15)]
  place_labels(figure, axes, points, LABELS, covered)
  return save_figure(figure, folder, "pairs")
