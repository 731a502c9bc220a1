"""Charts show the whole of their curves."""

import re

from prt_jax.reporting.charts import Curve, draw_curves


def ticks(svg):
  return [float(text.replace("\u2212", "-")) for text in re.findall(r">([-\u22120-9.]+)</text>", svg)]


def test_the_axes_hold_the_curves_with_a_diagonal_and_without():
  for diagonal in ("", "output = input"):
    svg = draw_curves([Curve([(20.0, 35.0), (40.0, 55.0)])], "input PSNR, dB", "output PSNR, dB", diagonal=diagonal)
    # Ticks lie inside of the axes: from 20 to 40 and from 35 to 55, and 0 is far from both.
    assert min(ticks(svg)) >= 15 and {20.0, 30.0, 40.0, 50.0} <= set(ticks(svg)), ticks(svg)


def test_points_that_are_not_finite_are_left_out():
  assert "<svg" in draw_curves([Curve([(1.0, float("inf")), (2.0, 3.0)])], "x", "y")
  assert "No finite value" in draw_curves([Curve([(1.0, float("inf"))])], "x", "y")
