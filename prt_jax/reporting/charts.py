"""Line charts as SVG text, for reports that must stand alone in one file."""

import dataclasses
import html
import math

import numpy as np

COLORS = ("#1b5e9e", "#c4452d", "#2e7d4f", "#8a5a9e", "#b07d1a", "#4a4f57", "#0f8b8d", "#9e3d64")
_WIDTH, _HEIGHT = 640, 400  # pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 16, 48  # margins
_LEGEND = 170  # further margin at the right where there is a legend


@dataclasses.dataclass(frozen=True)
class Curve:
  """Attributes:
  points: [(x, y), ...]; points that are not finite are left out.
  label: in the legend; "" = none.
  color: of the line.
  width: of the line, pixels.
  dash: SVG's dash pattern; "" = solid.
  markers: whether points are dotted.
  """

  points: list[tuple[float, float]]
  label: str = ""
  color: str = COLORS[0]
  width: float = 2.0
  dash: str = ""
  markers: bool = True


def draw_curves(curves: list[Curve], x_label: str, y_label: str, *, diagonal: str = "") -> str:
  """An <svg> element.

  Args:
    curves: at least one with a finite point.
    x_label, y_label: of the axes, with units.
    diagonal: label of the line y = x; "" = not drawn.
  """
  finite = [[point for point in curve.points if all(map(math.isfinite, point))] for curve in curves]
  xs, ys = (np.array([point[axis] for points in finite for point in points]) for axis in (0, 1))
  if not len(xs):
    return "<p>No finite value to draw: no attack changed anything.</p>"
  x_ticks, y_ticks = _ticks(xs.min(), xs.max()), _ticks(ys.min(), ys.max())
  right = _RIGHT + (_LEGEND if any(curve.label for curve in curves) else 0)

  def place(x, y):
    left = _LEFT + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (_WIDTH - _LEFT - right)
    top = _HEIGHT - _BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (_HEIGHT - _TOP - _BOTTOM)
    return f"{left:.1f}", f"{top:.1f}"

  parts = [
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
    'font-family="sans-serif" font-size="12" role="img">',
    f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
  ]
  for x in x_ticks:
    (left, bottom), (_, top) = place(x, y_ticks[0]), place(x, y_ticks[-1])
    parts.append(f'<line x1="{left}" y1="{bottom}" x2="{left}" y2="{top}" stroke="#e3e3e3"/>')
    parts.append(f'<text x="{left}" y="{float(bottom) + 16}" text-anchor="middle">{x:g}</text>')
  for y in y_ticks:
    (left, height), (far, _) = place(x_ticks[0], y), place(x_ticks[-1], y)
    parts.append(f'<line x1="{left}" y1="{height}" x2="{far}" y2="{height}" stroke="#e3e3e3"/>')
    parts.append(f'<text x="{float(left) - 6}" y="{float(height) + 4}" text-anchor="end">{y:g}</text>')
  center = (_LEFT + _WIDTH - right) / 2
  parts.append(f'<text x="{center}" y="{_HEIGHT - 10}" text-anchor="middle">{html.escape(x_label)}</text>')
  middle = (_TOP + _HEIGHT - _BOTTOM) / 2
  parts.append(
    f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{html.escape(y_label)}</text>'
  )
  low, high = max(x_ticks[0], y_ticks[0]), min(x_ticks[-1], y_ticks[-1])
  if diagonal and low < high:
    (left, bottom), (far, top) = place(low, low), place(high, high)
    parts.append(f'<line x1="{left}" y1="{bottom}" x2="{far}" y2="{top}" stroke="#999" stroke-dasharray="2 4"/>')
    parts.append(f'<text x="{far}" y="{float(top) - 5}" text-anchor="end" fill="#777">{html.escape(diagonal)}</text>')
  for curve, points in zip(curves, finite, strict=True):
    placed = [place(*point) for point in sorted(points)]
    dash = f' stroke-dasharray="{curve.dash}"' if curve.dash else ""
    path = " ".join(",".join(point) for point in placed)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{curve.color}" stroke-width="{curve.width}"{dash}/>')
    if curve.markers:
      parts += [f'<circle cx="{left}" cy="{top}" r="{curve.width + 1}" fill="{curve.color}"/>' for left, top in placed]
  for row, curve in enumerate(curve for curve in curves if curve.label):
    left, height = _WIDTH - right + 14, _TOP + 14 + 20 * row
    dash = f' stroke-dasharray="{curve.dash}"' if curve.dash else ""
    parts.append(
      f'<line x1="{left}" y1="{height - 4}" x2="{left + 22}" y2="{height - 4}" stroke="{curve.color}" '
      f'stroke-width="{curve.width}"{dash}/><text x="{left + 28}" y="{height}">{html.escape(curve.label)}</text>'
    )
  return "\n".join([*parts, "</svg>"])


def _ticks(low: float, high: float) -> list[float]:
  """Four to nine round numbers that enclose [low, high]."""
  span = max(high - low, 1e-6 * max(abs(high), 1))
  power = 10 ** math.floor(math.log10(span / 4))
  step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 7)
  first, last = math.floor(low / step), math.ceil(high / step)
  return [step * index for index in range(first, max(last, first + 1) + 1)]
