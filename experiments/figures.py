"""The look that all figures share: Okabe and Ito's palette for colour-blind readers, legible in print."""

import pathlib

import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("Agg")

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
BLACK, GREY, PALE = "#000000", "#7F7F7F", "#E3E3E3"

_STYLE = {
  "font.size": 8,
  "axes.titlesize": 8,
  "axes.labelsize": 8,
  "legend.fontsize": 7,
  "legend.frameon": False,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "lines.linewidth": 1.3,
  "lines.markersize": 4,
  "figure.constrained_layout.use": True,
}


def new_figure(rows: int, columns: int, width: float, height: float, **keywords):
  """A figure of `width` x `height` inches and its axes, as plt.subplots."""
  plt.rcParams.update(_STYLE)
  return plt.subplots(rows, columns, figsize=(width, height), **keywords)


def save_figure(figure, folder: pathlib.Path, name: str) -> pathlib.Path:
  """Writes folder/NAME.png, small enough to be committed, and closes the figure."""
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f"{name}.png"
  figure.savefig(path, dpi=150)
  plt.close(figure)
  return path


def scatter_points(axes, points, color, size=5.0) -> None:
  """Points of the plane with equal scales and no frame."""
  axes.scatter(points[:, 0], points[:, 1], s=size, color=color, linewidths=0)
  axes.set_aspect("equal")
  axes.set_axis_off()
