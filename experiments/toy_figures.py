"""The figures of the toy GANs: paper A's Fig. 2, and the weight of the robust term against what it does."""

import pathlib

import numpy as np

from configs import toy_disk
from experiments import hand_made
from experiments.figures import (
  BLACK,
  BLUE,
  GREEN,
  GREY,
  ORANGE,
  PURPLE,
  SKY,
  VERMILLION,
  new_figure,
  save_figure,
  scatter_points,
)  # fmt: skip
from experiments.toy_evaluation import restored_points, second_coordinate
from experiments.toy_runs import Run
from prt_jax.data.points_source import disk
from prt_jax.restorers.from_run import Run as Trained
from prt_jax.restorers.from_run import load_run

COLORS = {
  "Robust": BLUE, "Erratic": VERMILLION, "RobustGAN": SKY, "ErraticGAN": ORANGE, "RobustStoGAN": GREEN,
  "StoGAN": PURPLE,
}  # fmt: skip


def output_curves(trained: Trained, y: np.ndarray) -> np.ndarray:
  """The second coordinate against y [N], one curve for each of a few seeds: [S,N] (S = 1: deterministic)."""
  draws = (-1.5, -0.5, 0.5, 1.5) if trained.config.model.stochastic else (0.0,)
  restore = second_coordinate(trained.game.generator)
  return np.stack([
    restore(trained.state.generator_params, y[:, None], (np.full((len(y), 1), z, np.float32),))[:, 0] for z in draws
  ])  # fmt: skip


def draw_estimators(estimators: dict, args) -> pathlib.Path:
  """A column an estimator: its support, 100 samples with their scores, its output against y (first seed, last step)."""
  names = [name for name in COLORS if name in estimators]
  rng = np.random.default_rng(0)
  figure, axes = new_figure(3, 1 + len(names), 1.25 * (1 + len(names)), 4.2)
  scatter_points(axes[0, 0], disk(rng, 20_000), GREY, 0.5)
  scatter_points(axes[1, 0], disk(rng, 100), GREY)
  axes[0, 0].set_title("X, uniform")
  grid = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 4001)).astype(np.float32)
  for column, name in enumerate(names, start=1):
    color, scores = COLORS[name], estimators[name]
    if name in hand_made.ALPHAS:
      curves = hand_made.second_coordinate(grid, hand_made.ALPHAS[name])[None]
      y = disk(rng, 100)[:, 0]
      samples = np.stack([y, hand_made.second_coordinate(y, hand_made.ALPHAS[name])], axis=1)
      support = np.stack([grid, curves[0]], axis=1)
    else:
      seed, step = scores["seeds"][0], scores["steps"][-1]
      run = Run(name, seed)
      trained = load_run(args.workdir / run.name, step)
      curves = output_curves(trained, grid)
      support = restored_points(trained, disk(rng, 20_000)[:, :1], 0)
      samples = restored_points(trained, disk(rng, 100)[:, :1], 1)
    scatter_points(axes[0, column], support, color, 0.5)
    scatter_points(axes[1, column], samples, color)
    for curve, shade in zip(curves, (color, BLACK, GREY, BLUE), strict=False):
      axes[2, column].plot(grid, curve, color=shade, linewidth=0.7)
    axes[0, column].set_title(name)
    axes[1, column].set_title(f"P {scores['precision']:.2f}, R {scores['recall']:.2f}", y=-0.2)
  for one in axes[:2].flat:
    one.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
  for one in axes[2, 1:]:
    one.set(xlim=(-1, 1), ylim=(-1.1, 1.1), xlabel="y", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
  for one in axes[2, 2:]:
    one.set_yticklabels([])
  axes[2, 1].set_ylabel("output")
  axes[2, 0].set_axis_off()
  return save_figure(figure, args.out, "toy_gans")


def draw_sweep(estimators: dict, sweep: dict, published: dict, folder: pathlib.Path) -> pathlib.Path | None:
  """Recall and sqrt(R) of the deterministic GAN against the weight of the robust term, the published values as lines.

  None where the sweep was not run: there is nothing to draw.
  """
  found = {float(weight): scores for weight, scores in sweep.items()}
  default = toy_disk.get_config("deterministic-robust").optim.robust_weight
  found |= {default: estimators["RobustGAN"]} if "RobustGAN" in estimators else {}
  if len(found) < 2:
    return None
  figure, axes = new_figure(1, 2, 6.2, 3.1)
  weights = sorted(found)
  for one, score, index, label, ticks in (
    (axes[0], "recall", 1, "recall", (0.01, 0.03, 0.1, 0.3)),
    (axes[1], "sqrt_R_1e-3", 2, r"$\sqrt{R}$, $10^{-3}$", (0.2, 0.5, 1, 2, 4)),
  ):
    spread = [found[weight][f"{score}_spread"]["std"] for weight in weights]
    one.errorbar(weights, [found[weight][score] for weight in weights], spread, fmt="o-", color=BLUE, label="measured")
    if "ErraticGAN" in estimators:
      one.axhline(estimators["ErraticGAN"][score], color=ORANGE, label="measured, weight 0")
    one.axhline(published["ErraticGAN"][index], color=ORANGE, linestyle=":", label="published ErraticGAN")
    one.axhline(published["RobustGAN"][index], color=SKY, linestyle=":", label="published RobustGAN")
    star = {"color": VERMILLION, "markersize": 11, "label": "published, at our default weight"}
    one.plot([default], [published["RobustGAN"][index]], "*", **star)
    one.set(xscale="log", yscale="log", xlabel=r"weight $\lambda_R$, every third step", ylabel=label)
    one.minorticks_off()
    one.set_yticks(ticks, map(str, ticks))
  figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
  return save_figure(figure, folder, "toy_sweep")
