"""The look that all figures share: Okabe and Ito's palette for colour-blind readers, legible in print."""

import pathlib
from collections.abc import Mapping, Sequence

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


# Around a point: (right, up) in points, and the side from which the label is set.
_PLACES = (
  (9, 0, "left"), (-9, 0, "right"), (8, 9, "left"), (-8, 9, "right"), (8, -9, "left"), (-8, -9, "right"),
  (0, 16, "center"), (0, -16, "center"), (8, 20, "left"), (8, -20, "left"), (-8, 20, "right"), (-8, -20, "right"),
)  # fmt: skip


def place_labels(
  figure, axes, points: Mapping[str, tuple], labels: Mapping[str, str], obstacles: Sequence[Sequence[float]] = ()
) -> list:
  """A label beside each point, at the first of the places around it where it covers no other label, point or obstacle.

  obstacles: further points (x, y).
  """
  figure.canvas.draw()
  renderer, inside = figure.canvas.get_renderer(), axes.get_window_extent()
  pixels = axes.transData.transform([*points.values(), *obstacles])
  placed, texts = [], []
  for name, point in points.items():
    text = best = None
    for dx, dy, across in _PLACES:
      text = axes.annotate(
        labels[name], point, (dx, dy), textcoords="offset points", ha=across, va="center", fontsize=7, color=BLACK
      )
      box = text.get_window_extent(renderer)
      covered = any(box.overlaps(other) for other in placed) or any(
        box.padded(3).contains(*pixel) for pixel in pixels
      )
      within = box.x0 >= inside.x0 and box.x1 <= inside.x1 and box.y0 >= inside.y0 and box.y1 <= inside.y1
      if within and not covered:
        best = box
        break
      text.remove()
    if best is None:  # none is free: the first
      dx, dy, across = _PLACES[0]
      text = axes.annotate(
        labels[name], point, (dx, dy), textcoords="offset points", ha=across, va="center", fontsize=7, color=BLACK
      )
      best = text.get_window_extent(renderer)
    placed.append(best)
    texts.append(text)
  return texts
