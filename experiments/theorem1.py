"""Paper A's Theorem 1 in a discrete world, by trying every estimator: python -m experiments.theorem1

X has four states, D maps the first two to y = 0 and the others to y = 1. An estimator is a table
q(xhat | y); all tables whose entries are multiples of 1 / resolution are tried.
"""

import argparse
import itertools
import pathlib
import time

import numpy as np

from experiments.command import run_command
from experiments.figures import BLUE, GREY, VERMILLION, new_figure, save_figure
from experiments.results import FOLDER, format_table, write_results
from prt_jax.errors import UserError

PRIOR = np.array([1, 3, 2, 2]) / 8  # p_X
DEGRADED = np.array([0, 0, 1, 1])  # D(x)


def posterior(prior: np.ndarray = PRIOR, degraded: np.ndarray = DEGRADED) -> np.ndarray:
  """p_{X|Y}, [Y,X]."""
  joint = np.where(np.arange(degraded.max() + 1)[:, None] == degraded, prior, 0)
  return joint / joint.sum(axis=1, keepdims=True)


def simplex(size: int, resolution: int) -> np.ndarray:
  """All probability vectors of `size` entries that are multiples of 1 / resolution, [N,size]."""
  bars = itertools.combinations(range(resolution + size - 1), size - 1)
  edges = [(-1, *bar, resolution + size - 1) for bar in bars]
  return (np.diff(np.array(edges), axis=1) - 1) / resolution


def all_estimators(resolution: int) -> np.ndarray:
  """Every table q(xhat | y) of the grid, [N,2,4]."""
  rows = simplex(len(PRIOR), resolution)
  first, second = np.meshgrid(np.arange(len(rows)), np.arange(len(rows)), indexing="ij")
  return np.stack([rows[first.ravel()], rows[second.ravel()]], axis=1)


def divergences(estimators: np.ndarray) -> dict[str, np.ndarray]:
  """Of each estimator [N,Y,X], three numbers [N].

  perceptual: total variation of p_Xhat from p_X, the perceptual index.
  inconsistency: P(D(Xhat) != Y).
  from_posterior: E_Y of the total variation of q(. | Y) from the posterior.
  """
  measured = np.bincount(DEGRADED, PRIOR)
  outputs = np.einsum("y,nyx->nx", measured, estimators)
  wrong = np.arange(len(measured))[:, None] != DEGRADED
  return {
    "perceptual": 0.5 * np.abs(outputs - PRIOR).sum(axis=1),
    "inconsistency": np.einsum("y,nyx,yx->n", measured, estimators, wrong),
    "from_posterior": 0.5 * np.einsum("y,nyx->n", measured, np.abs(estimators - posterior())),
  }


def search(resolution: int) -> dict:
  """What the theorem says of all estimators of the grid, counted.

  Among the consistent ones the perceptual index IS the distance from the posterior sampler, as the
  outputs of different y do not overlap; so only the posterior sampler has both at 0.
  """
  estimators = all_estimators(resolution)
  values = divergences(estimators)
  consistent, perfect = values["inconsistency"] < 1e-12, values["perceptual"] < 1e-12
  deterministic = estimators.max(axis=2).min(axis=1) == 1
  both = estimators[consistent & perfect]
  others = values["perceptual"] + values["inconsistency"]
  return {
    "estimators": len(estimators),
    "consistent": int(consistent.sum()),
    "perfect_perceptual_quality": int(perfect.sum()),
    "both": len(both),
    "both_is_the_posterior_sampler": bool(len(both) == 1 and np.array_equal(both[0], posterior())),
    "least_perceptual_plus_inconsistency_of_others": float(np.min(others[~(consistent & perfect)])),
    "least_perceptual_of_consistent_others": float(np.min(values["perceptual"][consistent & ~perfect])),
    "least_perceptual_of_consistent_deterministic": float(np.min(values["perceptual"][consistent & deterministic])),
    "largest_gap_perceptual_to_distance_from_posterior_of_consistent": float(
      np.max(np.abs(values["perceptual"] - values["from_posterior"])[consistent])
    ),
    "values": values,
    "deterministic": deterministic,
  }


def draw(found: dict, folder: pathlib.Path) -> pathlib.Path:
  """Every estimator by its inconsistency and its perceptual index; the origin is the posterior sampler's alone."""
  values, deterministic = found["values"], found["deterministic"]
  points = np.stack([values["inconsistency"], values["perceptual"]], axis=1).round(12)
  figure, axes = new_figure(1, 1, 3.6, 3.0)
  everyone = np.unique(points, axis=0)
  axes.scatter(*everyone.T, s=7, color=GREY, linewidths=0, label="all estimators of the grid")
  axes.scatter(*np.unique(points[deterministic], axis=0).T, s=22, marker="s", color=VERMILLION, label="deterministic")
  axes.scatter([0], [0], s=70, marker="*", color=BLUE, zorder=3, label="posterior sampler")
  axes.set(xlabel=r"inconsistency, P(D($\hat{X}$) $\neq$ Y)", ylabel=r"perceptual index, TV($p_X$, $p_{\hat{X}}$)")
  axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncol=2)
  return save_figure(figure, folder, "theorem1")


def main(argv: list[str] | None = None) -> None:
  """Searches, prints what was counted, writes JSON and the figure."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--resolution", type=int, default=8, help="a multiple of 4, so that the posterior is on the grid")
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER)
  args = parser.parse_args(argv)
  if args.resolution < 4 or args.resolution % 4:
    raise UserError(f"--resolution={args.resolution} leaves the posterior off the grid: use a multiple of 4")
  started = time.monotonic()
  found = search(args.resolution)
  counts = {name: value for name, value in found.items() if name not in ("values", "deterministic")}
  print(format_table(["what", "measured"], [[name, value] for name, value in counts.items()]))
  results = counts | {"prior": PRIOR.tolist(), "degraded": DEGRADED.tolist(), "resolution": args.resolution}
  write_results(args.out, "theorem1", results, time.monotonic() - started)
  draw(found, args.out)


if __name__ == "__main__":
  run_command(main)
