"""Paper A's App. C: a consistent deterministic estimator whose W2 to the data vanishes as it grows erratic.

python -m experiments.zigzag: X uniform on the unit square, Y = X1, G_f(y) = arccos(cos(2 pi f y)) / pi.
"""

import argparse
import pathlib
import time

import numpy as np

from experiments.command import run_command
from experiments.figures import BLACK, BLUE, GREEN, GREY, VERMILLION, new_figure, save_figure
from experiments.results import FOLDER, format_table, mean_and_spread, write_results
from prt_jax.errors import UserError
from prt_jax.metrics import lipschitz_lower_bound, wasserstein

FREQUENCIES = (1, 2, 3, 4, 6, 8, 12, 24)


def zigzag(y: np.ndarray, frequency: int) -> np.ndarray:
  """G_f(y), a triangle wave between 0 and 1 with f periods on [0, 1]."""
  return np.arccos(np.cos(2 * np.pi * frequency * y)) / np.pi


def bound(frequency: float) -> float:
  """E||X - T_0(X)||^2 to the 1/2: within a strip of width 1 / (2f), X1 and K_f are independent and uniform."""
  return 1 / (2 * np.sqrt(6) * frequency)


def lattice(side: int) -> np.ndarray:
  """The side^2 cell centres of the unit square, [N,2]: the uniform distribution without sampling noise."""
  centres = (np.arange(side) + 0.5) / side
  return np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)


def estimates(num_points: int, frequency: int) -> np.ndarray:
  """(y, G_f(y)) at equally spaced y, [N,2]."""
  y = (np.arange(num_points) + 0.5) / num_points
  return np.stack([y, zigzag(y, frequency)], axis=1)


def lipschitz(frequency: int) -> float:
  """The largest difference quotient of G_f over neighbouring points of a fine grid; analytically 2f."""
  y = np.linspace(0, 1, 4001)
  outputs = zigzag(y, frequency)
  quotients = lipschitz_lower_bound(outputs[:-1, None], outputs[1:, None], np.diff(y)[:, None])
  return float(np.max(quotients))


def measure(frequency: int, side: int, seeds: int) -> dict:
  """W2 on the lattice, between independent samples of the same size, and what both are compared with."""
  sampled = []
  for seed in range(seeds):
    rng = np.random.default_rng(seed)
    y = rng.uniform(size=side**2)
    sampled.append(wasserstein(rng.uniform(size=(side**2, 2)), np.stack([y, zigzag(y, frequency)], axis=1)))
  return {
    "w2_lattice": wasserstein(lattice(side), estimates(side**2, frequency)),
    "w2_samples": mean_and_spread(sampled),
    "bound": float(bound(frequency)),
    "lipschitz": lipschitz(frequency),
    "lipschitz_analytic": 2 * frequency,
  }


def sampling_floor(side: int, seeds: int) -> dict:
  """W2 between two independent samples of the uniform distribution itself."""
  rngs = [np.random.default_rng(1000 + seed) for seed in range(seeds)]
  return mean_and_spread([wasserstein(rng.uniform(size=(side**2, 2)), rng.uniform(size=(side**2, 2))) for rng in rngs])


def draw(curves: dict, floor: float, resolved: float, folder: pathlib.Path) -> pathlib.Path:
  """Everything against f on one log-log figure."""
  figure, axes = new_figure(1, 1, 4.6, 3.6)
  frequencies = [int(frequency) for frequency in curves]
  dense = np.array([frequencies[0], frequencies[-1]])
  axes.loglog(dense, bound(dense), color=BLACK, linestyle="--", label=r"bound $1/(2\sqrt{6} f)$")
  axes.loglog(frequencies, [curve["w2_lattice"] for curve in curves.values()], "o-", color=BLUE, label="$W_2$, lattice")
  samples = [curve["w2_samples"] for curve in curves.values()]
  axes.errorbar(
    frequencies, [sample["mean"] for sample in samples], [sample["std"] for sample in samples],
    fmt="s-", color=VERMILLION, label="$W_2$, independent samples",
  )  # fmt: skip
  axes.axhline(floor, color=VERMILLION, linestyle=":", label="their floor: two samples of X")
  axes.axvline(resolved, color=GREY, linestyle=":", label="the lattice resolves up to here")
  axes.set(xlabel="frequency f", ylabel="$W_2$ to the data")
  right = axes.twinx()
  right.loglog(frequencies, [curve["lipschitz"] for curve in curves.values()], "^-", color=GREEN)
  right.set_ylabel("Lipschitz constant, 2f", color=GREEN)
  right.spines["right"].set_visible(True)
  right.set_yticks([2 * frequency for frequency in frequencies], [str(2 * frequency) for frequency in frequencies])
  axes.set_xticks(frequencies, [str(frequency) for frequency in frequencies])
  heights = (0.01, 0.02, 0.05, 0.1, 0.2)
  axes.set_yticks(heights, [str(height) for height in heights])
  for one in (axes, right):
    one.minorticks_off()
  figure.legend(loc="outside upper center", ncol=2)
  return save_figure(figure, folder, "zigzag")


def main(argv: list[str] | None = None) -> None:
  """Measures every frequency, prints the table, writes JSON and the figure."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--side", type=int, default=48, help="the lattice has side^2 points; time grows as side^6")
  parser.add_argument("--seeds", type=int, default=3, help="of the independent samples")
  parser.add_argument("--frequencies", type=int, nargs="+", default=FREQUENCIES)
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER)
  args = parser.parse_args(argv)
  for frequency in args.frequencies:
    if args.side % (2 * frequency):
      raise UserError(f"--side={args.side} cannot show f={frequency}: make it a multiple of {2 * frequency}")
  started = time.monotonic()
  curves = {str(frequency): measure(frequency, args.side, args.seeds) for frequency in args.frequencies}
  floor = sampling_floor(args.side, args.seeds)
  # A strip of width 1 / (2f) holds side / (2f) lattice columns: under two, the lattice is coarser than the zigzag.
  resolved = args.side / 4
  columns = ("bound", "w2_lattice", "lipschitz")
  rows = [
    [frequency, *(curve[name] for name in columns), curve["w2_samples"]["mean"], curve["w2_samples"]["std"]]
    for frequency, curve in curves.items()
  ]
  print(format_table(["f", *columns, "w2 of samples", "std over seeds"], rows))
  print(f"two independent samples of X: {floor['mean']:.4f}; the lattice resolves f up to {resolved:g}")
  results = {"frequencies": curves, "sampling_floor": floor, "resolved_frequency": resolved}
  results |= {"protocol": {"points": args.side**2}, "seeds": list(range(args.seeds))}
  write_results(args.out, "zigzag", results, time.monotonic() - started)
  draw(curves, floor["mean"], resolved, args.out)


if __name__ == "__main__":
  run_command(main)
