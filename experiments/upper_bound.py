"""Paper A's App. D, numerically: Eq. 5 is at most Eq. 7, and how tight that is: python -m experiments.upper_bound

E W2^2 between the conditionals of y and y + delta, against the mean squared change with the same Z. On
Gaussians both have closed forms; on the trained toy GANs W2 is an exact assignment between draws.
"""

import argparse
import pathlib
import time

import numpy as np
from scipy.linalg import sqrtm

from experiments.command import add_training_arguments, run_command, training_fields
from experiments.figures import BLACK, BLUE, GREEN, VERMILLION, new_figure, save_figure
from experiments.results import format_table, mean_and_spread, write_results
from experiments.toy_evaluation import second_coordinate
from experiments.toy_runs import Run
from experiments.training import checkpoint_steps
from prt_jax.data.points_source import disk
from prt_jax.errors import UserError
from prt_jax.metrics import wasserstein
from prt_jax.restorers.from_run import load_run

SCALES = np.array([1.0, 0.25])  # standard deviations along the axes of the 2-D Gaussian
TURN = 0.6  # radians the Gaussian turns by between y and y + delta
ESTIMATORS = ("StoGAN", "RobustStoGAN")


def rotation(angle: float) -> np.ndarray:
  """[2,2]."""
  return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def gaussian_pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """{name: (A, B)}: G(y, Z) = A Z and G(y + delta, Z) = B Z with Z ~ N(0, I) in the plane.

  grows: scales change, axes do not: the same Z is the optimal coupling, and the bound is an equality.
  turns: N(0, A A^T) turns by TURN, and Z with it: nearly tight where the turn is small.
  relabels: only Z turns, the distribution stays: W2 = 0 while the coupled change is not.
  """
  return {
    "grows": (np.diag(SCALES), np.diag([1.3, 0.5] * SCALES)),
    "turns": (np.diag(SCALES), rotation(TURN) @ np.diag(SCALES)),
    "turns, Z turned back": (np.diag(SCALES), rotation(TURN) @ np.diag(SCALES) @ rotation(-TURN)),
    "relabels": (np.diag(SCALES), np.diag(SCALES) @ rotation(TURN)),
  }


def gaussian_w2_squared(a: np.ndarray, b: np.ndarray) -> float:
  """W2^2 between N(0, a a^T) and N(0, b b^T), closed form (Bures)."""
  first, second = a @ a.T, b @ b.T
  root = sqrtm(first)
  return float(np.trace(first + second) - 2 * np.trace(sqrtm(root @ second @ root)).real)


def coupled_change(a: np.ndarray, b: np.ndarray) -> float:
  """E ||A Z - B Z||^2, the squared Frobenius norm of A - B."""
  return float(np.sum((a - b) ** 2))


def measure_gaussian(a: np.ndarray, b: np.ndarray, num_draws: int, seeds: int) -> dict:
  """Closed forms beside the same two numbers from draws: the assignment may use the SAME draws of Z, as App. D does."""
  assigned, coupled = [], []
  for seed in range(seeds):
    z = np.random.default_rng(seed).normal(size=(num_draws, 2))
    assigned.append(wasserstein(z @ a.T, z @ b.T) ** 2)
    coupled.append(float(np.mean(np.sum((z @ (a - b).T) ** 2, axis=1))))
  return {
    "w2_squared": gaussian_w2_squared(a, b),
    "coupled": coupled_change(a, b),
    "w2_squared_draws": mean_and_spread(assigned),
    "coupled_draws": mean_and_spread(coupled),
  }


def measure_gan(outputs: np.ndarray, shifted: np.ndarray) -> dict[str, float]:
  """E over y of W2^2, by exact assignment, and of the coupled change: outputs at y and y + delta, [Y,S] each."""
  w2 = np.array([wasserstein(*pair) ** 2 for pair in zip(outputs, shifted, strict=True)])
  coupled = np.mean((outputs - shifted) ** 2, axis=1)
  return {
    "sqrt_w2_squared_1e-3": 1e3 * float(np.sqrt(w2.mean())),
    "sqrt_coupled_1e-3": 1e3 * float(np.sqrt(coupled.mean())),
    "ratio": float(w2.mean() / coupled.mean()),
    "largest_excess": float(np.max(w2 - coupled)),
  }


def gan_outputs(run: Run, args, num_measurements: int, num_draws: int):
  """What a trained run puts out at y, y - eps and y + eps: [Y,S] each; None where the run is not there."""
  folder = args.workdir / run.name
  steps = [step for step in checkpoint_steps(folder) if step <= args.until]
  if not steps:
    return None
  trained = load_run(folder, steps[-1])
  y = disk(np.random.default_rng(0), num_measurements)[:, :1]
  z = np.random.default_rng(1).normal(size=(num_draws, 1)).astype(np.float32)
  pairs = np.repeat(y, num_draws, axis=0), np.tile(z, (num_measurements, 1))

  def outputs(delta):
    restore, parameters = second_coordinate(trained.game.generator), trained.state.generator_params
    values = restore(parameters, pairs[0] + np.float32(delta), (pairs[1],))
    return np.asarray(values, np.float64).reshape(num_measurements, num_draws)

  eps = trained.config.attack.eps
  return outputs(0), outputs(-eps), outputs(eps)


def draw(gaussians: dict, gans: dict, folder: pathlib.Path) -> pathlib.Path:
  """W2^2 against the coupled change; the diagonal is the bound, every point must be below it."""
  figure, axes = new_figure(1, 2, 6.4, 2.9)
  for (name, values), color in zip(gaussians.items(), (BLUE, VERMILLION, GREEN, BLACK), strict=True):
    axes[0].plot(values["coupled"], values["w2_squared"], "o", color=color, label=name)
    draws = values["coupled_draws"]["mean"], values["w2_squared_draws"]["mean"]
    axes[0].plot(*draws, "x", color=color, markersize=6)
  axes[0].set_title("Gaussians: closed form (dots), draws (crosses)")
  for (name, runs), color in zip(gans.items(), (BLUE, VERMILLION), strict=False):
    points = np.array([[run["sqrt_coupled_1e-3"], run["sqrt_w2_squared_1e-3"]] for run in runs])
    axes[1].plot(*points.T, "o", color=color, label=name)
  axes[1].set_title("toy GANs, root of the mean over y, $10^{-3}$")
  for one in axes:
    limit = 1.1 * max(one.get_xlim()[1], one.get_ylim()[1])
    one.plot([0, limit], [0, limit], color=BLACK, linewidth=0.6, linestyle="--")
    one.set(xlabel="same Z (Eq. 7)", ylabel="$W_2$ (Eq. 5)", xlim=(0, limit), ylim=(-0.03 * limit, limit))
    one.legend()
  return save_figure(figure, folder, "upper_bound")


def main(argv: list[str] | None = None) -> None:
  """Measures both sides, prints them, writes JSON and the figure."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  add_training_arguments(parser, "toy_gans", seeds=5)
  args = parser.parse_args(argv)
  training_fields(args)
  started = time.monotonic()
  num_draws, num_measurements = (50, 20) if args.smoke else (500, 400)
  gaussians = {name: measure_gaussian(*pair, num_draws, 3) for name, pair in gaussian_pairs().items()}
  gans = {}
  for name in ESTIMATORS:
    found = [gan_outputs(Run(name, seed), args, num_measurements, num_draws) for seed in range(args.seeds)]
    scores = [[measure_gan(at_y, shifted) for shifted in sides] for at_y, *sides in filter(None, found)]
    # The larger side, as Eq. 4 maximises over delta.
    gans |= {name: [max(sides, key=lambda side: side["sqrt_w2_squared_1e-3"]) for sides in scores]} if scores else {}
  if not gans:
    raise UserError(f"{args.workdir} holds no trained StoGAN or RobustStoGAN: run python -m experiments.toy_gans first")
  rows = [[name, values["w2_squared"], values["coupled"], values["w2_squared"] / values["coupled"]]
          for name, values in gaussians.items()]  # fmt: skip
  print(format_table(["Gaussians", "W2^2", "same Z", "ratio"], rows))
  rows = [[name, *(float(np.mean([run[score] for run in runs])) for score in runs[0]), len(runs)]
          for name, runs in gans.items()]  # fmt: skip
  print(format_table(["GAN", "root E W2^2, 1e-3", "same Z", "ratio of squares", "largest excess", "runs"], rows))
  protocol = {"draws": num_draws, "measurements": num_measurements, "until": args.until, "smoke": args.smoke}
  results = {"gaussians": gaussians, "gans": gans, "protocol": protocol}
  write_results(args.out, "upper_bound", results, time.monotonic() - started)
  draw(gaussians, gans, args.out)


if __name__ == "__main__":
  run_command(main)
