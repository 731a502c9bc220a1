"""Charts as <svg> elements, for pages that must stand alone in one file."""

import dataclasses
import io
import math
from typing import Any

COLORS = ("#1b5e9e", "#c4452d", "#2e7d4f", "#8a5a9e", "#b07d1a", "#4a4f57", "#0f8b8d", "#9e3d64")
_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "prt_jax", "font.family": "sans-serif", "font.size": 9}
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclasses.dataclass(frozen=True)
class Curve:
  """Attributes:
  points: [(x, y), ...]; points that are not finite are left out.
  label: in the legend; "" = none.
  color: of the line.
  width: of the line, points.
  style: matplotlib's, of the line.
  marker: matplotlib's, of the points.
  """

  points: list[tuple[float, float]]
  label: str = ""
  color: str = COLORS[0]
  width: float = 2.0
  style: str = "-"
  marker: str = "o"


def draw_curves(curves: list[Curve], x_label: str, y_label: str, *, diagonal: str = "") -> str:
  """An <svg> element; a paragraph where no curve has a finite point.

  Args:
    curves: what is drawn.
    x_label, y_label: of the axes, with units.
    diagonal: label of the line y = x; "" = not drawn.
  """
  finite = [sorted(point for point in curve.points if all(map(math.isfinite, point))) for curve in curves]
  if not any(finite):
    return "<p>No finite value to draw: no attack changed anything.</p>"
  figure, axes = _chart(6.6, 4.2)
  for curve, points in zip(curves, finite, strict=True):
    axes.plot(
      *zip(*points, strict=True) if points else ((), ()), color=curve.color, linewidth=curve.width,
      linestyle=curve.style, marker=curve.marker, markersize=curve.width + 2, label=curve.label or None,
    )  # fmt: skip
  axes.set(xlabel=x_label, ylabel=y_label)
  axes.grid(color="#e3e3e3")
  if diagonal:
    limits = {"xlim": axes.get_xlim(), "ylim": axes.get_ylim()}  # of the curves alone
    axes.axline((0, 0), slope=1, color="#999999", linestyle=":", label=diagonal)
    axes.set(**limits)
  if axes.get_legend_handles_labels()[1]:
    axes.legend(frameon=False)
  return _svg(figure)


def draw_histogram(counts: dict, title: str) -> str:
  """An <svg> histogram of {"edges": [n + 1], "counts": [n]}, the last bin holding everything beyond."""
  figure, axes = _chart(5.4, 2.2)
  axes.stairs(counts["counts"], counts["edges"], fill=True, color=COLORS[0])
  axes.set(xlabel=title, ylabel="inputs")
  return _svg(figure)


def _chart(width, height):
  import matplotlib.figure  # here, since it takes a second

  with matplotlib.rc_context(_SETTINGS):
    figure = matplotlib.figure.Figure((width, height), layout="constrained")
    axes = figure.add_subplot()
  axes.spines[["top", "right"]].set_visible(False)
  return figure, axes


def _svg(figure):
  import matplotlib

  buffer = io.StringIO()
  with matplotlib.rc_context(_SETTINGS):
    figure.savefig(buffer, format="svg", metadata=_METADATA)
  text = buffer.getvalue()
  return text[text.index("<svg") :]
