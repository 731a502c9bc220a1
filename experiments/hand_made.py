"""The two hand-made estimators on the disk (paper A, Fig. 2, top row): python -m experiments.hand_made

(Y, sqrt(1 - Y^2) sin(alpha Y)) for alpha = 1, robust, and 50, erratic: no training, a few seconds.
"""

import argparse
import pathlib
import time

import numpy as np

from experiments.command import run_command
from experiments.figures import BLUE, GREY, VERMILLION, new_figure, save_figure, scatter_points
from experiments.results import FOLDER, format_table, mean_and_spread, write_results
from prt_jax.data.points_source import disk
from prt_jax.metrics import precision_recall

ALPHAS = {"Robust": 1, "Erratic": 50}
PUBLISHED = {"Robust": (0.99, 0.01), "Erratic": (0.98, 0.98)}  # precision, recall
NEIGHBOURS = 5
POINTS = 1000
EPS = 1e-3


def second_coordinate(y: np.ndarray, alpha: float) -> np.ndarray:
  """sqrt(1 - y^2) sin(alpha y) on [-1, 1], its end value beyond: [N] -> [N]."""
  y = np.clip(y, -1, 1)
  return np.sqrt(1 - y**2) * np.sin(alpha * y)


def measure(alpha: float, seed: int, num_points: int = POINTS, neighbours: int = NEIGHBOURS) -> dict[str, float]:
  """Precision, recall and sqrt(R) (|delta| = eps, exact to first order) from one seed's points."""
  rng = np.random.default_rng(seed)
  real, y = disk(rng, num_points), disk(rng, num_points)[:, 0].astype(np.float64)
  fake = np.stack([y, second_coordinate(y, alpha)], axis=1)
  precision, recall = precision_recall(real, fake, neighbours)
  changes = [(second_coordinate(y + sign * EPS, alpha) - fake[:, 1]) ** 2 for sign in (-1, 1)]
  return {"precision": precision, "recall": recall, "sqrt_R_1e-3": 1e3 * float(np.sqrt(np.mean(np.maximum(*changes))))}


def estimate(alpha: float, seeds: int) -> dict:
  """Each score's mean over seeds, and its spread."""
  runs = [measure(alpha, seed) for seed in range(seeds)]
  summary = {}
  for name in runs[0]:
    spread = mean_and_spread([run[name] for run in runs])
    summary |= {name: spread["mean"], f"{name}_spread": spread}
  return summary


def draw(folder: pathlib.Path) -> pathlib.Path:
  """The support of each distribution above 100 samples of it."""
  rng = np.random.default_rng(0)
  figure, axes = new_figure(2, 3, 5.2, 3.6)
  scatter_points(axes[0, 0], disk(rng, 60_000), GREY, 0.5)
  scatter_points(axes[1, 0], disk(rng, 100), GREY)
  axes[0, 0].set_title("X, uniform")
  grid = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 6001))
  for column, ((name, alpha), color) in enumerate(zip(ALPHAS.items(), (BLUE, VERMILLION), strict=True), start=1):
    axes[0, column].plot(grid, second_coordinate(grid, alpha), color=color, linewidth=0.8)
    y = disk(rng, 100)[:, 0]
    scatter_points(axes[1, column], np.stack([y, second_coordinate(y, alpha)], axis=1), color)
    scores = measure(alpha, 0)
    axes[0, column].set_title(f"{name}, $\\alpha$ = {alpha}")
    axes[1, column].set_title(f"precision {scores['precision']:.2f}, recall {scores['recall']:.2f}", y=-0.14)
  for one in axes.flat:
    one.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
    one.set_axis_off()
  return save_figure(figure, folder, "hand_made")


def main(argv: list[str] | None = None) -> None:
  """Measures, prints the table beside the published numbers, writes JSON and the figure."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seeds", type=int, default=20, help="sets of points")
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="where the JSON and the figure go")
  args = parser.parse_args(argv)
  started = time.monotonic()
  estimators = {name: estimate(alpha, args.seeds) for name, alpha in ALPHAS.items()}
  by_k = {
    k: {name: [measure(alpha, 0, neighbours=k)[score] for score in ("precision", "recall")]
        for name, alpha in ALPHAS.items()}
    for k in (3, 4, 5, 6)
  }  # fmt: skip
  rows = []
  for name, scores in estimators.items():
    for score, published in zip(("precision", "recall"), PUBLISHED[name], strict=True):
      rows.append([name, score, published, scores[score], scores[f"{score}_spread"]["std"]])
  print(format_table(["estimator", "score", "published", "measured", "std over seeds"], rows))
  results = {"estimators": estimators, "published": PUBLISHED, "by_k_seed_0": by_k, "seeds": list(range(args.seeds))}
  results["protocol"] = {"k": NEIGHBOURS, "points": POINTS, "eps": EPS}
  write_results(args.out, "hand_made", results, time.monotonic() - started)
  draw(args.out)


if __name__ == "__main__":
  run_command(main)
