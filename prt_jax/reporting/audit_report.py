"""An audit as files: report.json for programs, report.html for people (one file, nothing is fetched)."""

import base64
import html
import io
import json
import math
import pathlib

import numpy as np
from PIL import Image

from prt_jax.attacks.table import ATTACKS
from prt_jax.audit import Pictures
from prt_jax.metrics import PSNR_CAP
from prt_jax.reporting.charts import COLORS, Curve, draw_curves
from prt_jax.reporting.evaluation_report import formatted, label

WINDOW = 160  # pixels of a restoration that the gallery shows, where it changes most
NUM_WORST = 6  # images in the gallery
GAIN = 4  # differences are drawn that many times larger
_ARITHMETIC = {"highest": "products in float32", "its own": "products as the restorer's own framework computes them"}

_STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 1080px; margin: 24px auto; padding: 0 16px }
h1 { font-size: 24px; margin-bottom: 0 } h2 { font-size: 18px; margin-top: 36px }
table { border-collapse: collapse; margin: 12px 0 } th, td { padding: 4px 12px; text-align: right }
th { border-bottom: 2px solid #444; font-weight: 600 } td { border-bottom: 1px solid #ddd }
th:first-child, td:first-child, td.text, th.text { text-align: left }
.note { color: #555 } figure { display: inline-block; margin: 0 6px 10px 0 }
figcaption { font-size: 12px; color: #444 } img { image-rendering: pixelated; display: block }
.large { font-weight: 600; white-space: nowrap }
"""


def write_report(folder: pathlib.Path, report: dict, pictures: list[Pictures]) -> None:
  """Writes report.json and report.html into a folder, each beside and renamed."""
  folder.mkdir(parents=True, exist_ok=True)
  write_text(folder / "report.json", json.dumps(_json_ready(report), indent=2, allow_nan=False) + "\n")
  write_text(folder / "report.html", render(report, pictures))


def write_text(path: pathlib.Path, text: str) -> None:
  """A text file, written beside and renamed, so that a reader never sees half of it."""
  partial = path.with_name(path.name + ".partial")
  partial.write_text(text)
  partial.replace(path)


def _json_ready(value):
  """JSON has no infinity: a PSNR between equal images becomes "inf"."""
  if isinstance(value, dict):
    return {name: _json_ready(item) for name, item in value.items()}
  if isinstance(value, list | tuple):
    return [_json_ready(item) for item in value]
  return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def render(report: dict, pictures: list[Pictures]) -> str:
  """The whole page. report: of audit.summarise; pictures: of its images, in order."""
  title = f"Audit of {report['restorer']}"
  protocol = report["protocol"]
  order = sorted(range(report["num_images"]), key=lambda index: -report["images"][index]["lipschitz_lower_bound"])
  return "\n".join([
    f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
    f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>",
    f'<p class="note">{report["num_images"]} images, {_kind(report)}; I-FGSM with {protocol["num_steps"]} steps, '
    f'{protocol["num_restarts"]} start(s), seed {protocol["seed"]}; {_ARITHMETIC[protocol["precision"]]}.</p>',
    *(f'<p><b>Remark:</b> {html.escape(remark)}.</p>' for remark in report["remarks"]),
    *(f'<p class="note">{html.escape(line)}.</p>' for line in report.get("missing", ())),
    "<h2>Summary</h2>", _summary(report),
    "<h2>Robustness</h2>", _robustness(report),
    "<h2>Every result, by its definition</h2>", _results(report),
    "<h2>Images, most erratic first</h2>", _image_table(report, order),
    "<h2>Pictures, most erratic first</h2>", _gallery(report, pictures, order[:NUM_WORST]),
    "</body></html>\n",
  ])


def _kind(report):
  if report["stochastic"]:
    return f"a stochastic restorer, {report['protocol']['num_seeds']} draws of Z an image"
  return "a deterministic restorer"


def _summary(report):
  rows = [
    ("Distortion", _psnr(report, "psnr_y_db", "PSNR-Y"), "Mean PSNR of the luma against the originals, 8 bits, "
     f"{_without(report['border'])}. {_bicubic(report)}High is near the original, and says nothing "
     "of how natural the image looks."),
    ("Consistency", _psnr(report, "consistency_db", "PSNR"), "Mean PSNR between the measurement and the restoration, "
     "degraded again. From about 45 dB the restoration explains its measurement; below, it invents."),
  ]
  if "residual_over_noise" in report:
    rows.append(("Residual over noise", _number(report["residual_over_noise"]), "Mean squared difference of the "
      "measurement and the degraded restoration, in units of the noise variance: about 1 is consistent with noise."))
  rows += [
    ("Range", "{:.3g} to {:.3g}".format(*report["restored_range"]), "Of the restorations' pixels, black 0 and white 1; "
     f"the restorer itself takes and returns {html.escape(report['range'])}. A network overshoots at edges; much more "
     "is another range."),
    ("Lipschitz bound", f"K &ge; {_number(report['lipschitz_lower_bound'])}", "The largest ratio of the change of the "
     "output to the change of the input (L2) that the attacks and the Jacobian showed on any of these images. A LOWER "
     f"bound: the true constant may be far larger, and a stronger attack would raise it.{_floors(report)}"),
    ("Diversity", _number(report["per_pixel_std"]), "Per-pixel standard deviation over draws of Z, in units of white. "
     "0 for a deterministic restorer: it shows one of the images that explain the measurement, always the same."),
  ]
  if report.get("joint_index"):
    joint = report["joint_index"]
    rows.append(("Joint perceptual index", _number(joint["value"]), html.escape(joint["meaning"])))
  cells = "".join(
    f'<tr><td>{name}</td><td class="large">{value}</td><td class="text">{note}</td></tr>' for name, value, note in rows
  )
  return f'<table><tr><th>quantity</th><th>value</th><th class="text">what it means</th></tr>{cells}</table>'


def _floors(report):
  floors = report.get("exact_consistency")
  if not floors:
    return ""
  above = floors["robustness_above_input_db"]
  beside = "the input PSNR" if abs(above) < 0.005 else f"the input PSNR and {above:.2f} dB"
  return (
    f" Agreeing exactly with every measurement forces K &ge; {_number(floors['lipschitz'])}, whatever is invented, and "
    f"robustness of at most {beside}; K beyond that, the root of the difference of squares: "
    f"{_number(floors['lipschitz_beyond'])}."
  )


def _bicubic(report):
  value = report.get("bicubic_psnr_y_db")
  return "" if value is None else f"Bicubic interpolation has {_number(value)} dB on the same images. "


def _without(borders):
  pixels = " or ".join(map(str, borders))
  return f"without {pixels} pixels on each side" if any(borders) else "whole images"


def _robustness(report):

  def points(robustness):
    return [(point["input_psnr_db"], point["output_psnr_db"]) for point in robustness]

  curves = [
    Curve(points(image["robustness"]), "" if index else "each image", "#b9c7d6", 1, markers=False)
    for index, image in enumerate(report["images"])
  ]
  curves.append(Curve(points(report["robustness"]), "mean", COLORS[1], 2.5))
  if "robustness_strong" in report:
    curves.append(Curve(points(report["robustness_strong"]), "mean, stronger attack", COLORS[2], 2.5))
  strong = report.get("robustness_strong")
  rows = []
  for index, point in enumerate(report["robustness"]):
    shown = ("output_psnr_db", "lipschitz_worst_draw", "late_gain_db")
    other = [strong[index][name] for name in shown] if strong else []
    cells = [
      _number(point["input_psnr_db"]), *(_number(point[f"output_psnr_db{end}"]) for end in ("", "_median", "_minimum")),
      point["output_psnr_db_num_exact"], _number(point["lipschitz_worst_draw"]), *map(_number, other),
    ]  # fmt: skip
    rows.append("".join(f"<td>{cell}</td>" for cell in (f"{255 * point['alpha']:.3g}/255", *cells)))
  rows = "".join(f"<tr>{row}</tr>" for row in rows)
  return (
    '<p class="note">Each attack looks for the change of the measurement, at most alpha in any value, that changes the '
    "restoration most. Input PSNR: how little the measurement was changed. Output PSNR: how alike the two restored "
    "pictures are, clipped to black and white. Below the dotted line the restoration changed more than its input. "
    "Another attack may find a worse change: none of these curves is too pessimistic.</p>"
    + draw_curves(curves, "input PSNR, dB", "output PSNR, dB", diagonal="output = input")
    + "<table><tr><th>alpha</th><th>input PSNR, dB</th><th>output PSNR, dB</th><th>median</th><th>least</th>"
    f"<th>at {PSNR_CAP:.0f} dB</th><th>largest K</th>"
    + ("<th>output PSNR, dB, stronger attack</th><th>its largest K</th>"
    "<th>gain of its last tenth of steps, dB</th>" if strong else "")
    + f"</tr>{rows}</table>"
    + (f'<p class="note">The stronger attack: {html.escape(ATTACKS["strong_sup"].definition)}</p>' if strong else "")
  )


def _results(report):
  found = report.get("results", {})
  rows = "".join(
    f"<tr><td>{html.escape(label(name, result))}</td><td>{formatted(name, result['value'])}</td><td>{result['n']}</td>"
    f'<td class="text">{html.escape(report["definitions"][name])}</td></tr>'
    for name, result in found.items()
  )
  return f'<table><tr><th>result</th><th>value</th><th>n</th><th class="text">what it is</th></tr>{rows}</table>'


def _image_table(report, order):
  rows = []
  for index in order:
    image = report["images"][index]
    points = image["robustness"]
    middle = points[len(points) // 2]
    rows.append(
      f"<tr><td>{html.escape(image['name'])}</td><td>{_number(image['psnr_y_db'])}</td>"
      f"<td>{_number(image['consistency_db'])}</td><td>{_number(middle['output_psnr_db'])}</td>"
      f"<td>{_number(image['lipschitz_from_attacks'])}</td><td>{_number(image['lipschitz_from_jacobian'])}</td>"
      f"<td>{_number(image['per_pixel_std'])}</td></tr>"
    )
  alpha = 255 * report["protocol"]["alphas"][len(report["protocol"]["alphas"]) // 2]
  return (
    "<table><tr><th>image</th><th>PSNR-Y, dB</th><th>consistency, dB</th>"
    f"<th>output PSNR, dB, at {alpha:.3g}/255</th><th>K, attacks</th><th>K, Jacobian</th><th>std over Z</th></tr>"
    + "".join(rows) + "</table>"
  )


def _gallery(report, pictures, order):
  parts = [
    f'<p class="note">Windows of {WINDOW} pixels where the restoration changes most; differences are drawn {GAIN} '
    "times larger, grey is none. Shown are the smallest attack and the middle one.</p>"
  ]
  for index in order:
    picture = pictures[index]
    parts.append(f"<h3>{html.escape(report['images'][index]['name'])}</h3>")
    parts += [f"<div>{_attack_row(picture, *attack)}</div>" for attack in picture.attacked]
  return "".join(parts)


def _attack_row(picture, alpha, attacked_y, attacked_x):
  restored, scale = picture.restored, max(1, picture.restored.shape[0] // picture.measurement.shape[0])
  top, left = _window(np.abs(attacked_x - restored).sum(-1), scale)
  window = (slice(top, top + WINDOW), slice(left, left + WINDOW))
  tiles = [("original", picture.original)] if picture.original is not None else []
  tiles += [
    ("measurement", _enlarged(picture.measurement, restored.shape)),
    (f"attacked, {255 * alpha:.3g}/255", _enlarged(attacked_y, restored.shape)),
    ("restored", restored),
    ("restored from attacked", attacked_x),
    (f"difference x{GAIN}", 0.5 + GAIN / 2 * (attacked_x - restored)),
  ]
  return "".join(
    f'<figure><img src="{_data_uri(tile[window])}" width="{WINDOW}" alt="{name}">'
    f"<figcaption>{name}</figcaption></figure>"
    for name, tile in tiles
  )


def _window(change, scale):
  """The upper left corner, on a multiple of scale, of the WINDOW x WINDOW square with the largest sum."""
  total = np.pad(np.cumsum(np.cumsum(change, 0), 1), ((1, 0), (1, 0)))
  height, width = (min(WINDOW, side) for side in change.shape)
  sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
  top, left = np.unravel_index(np.argmax(sums), sums.shape)
  return int(top) // scale * scale, int(left) // scale * scale


def _enlarged(image, shape):
  """A measurement at the restoration's size, by pixel replication; as it is where sizes do not divide."""
  rows, columns = shape[0] // image.shape[0], shape[1] // image.shape[1]
  return image.repeat(max(1, rows), 0).repeat(max(1, columns), 1)


def _data_uri(image):
  pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, format="png")
  return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _number(value):
  if value is None:
    return "not measured"
  if not math.isfinite(value):
    return "&infin;"
  return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _psnr(report, key, name):
  if report[key] is None:
    return "not measured"
  exact = report[f"{key}_num_exact"]
  counted = f"; exact: {exact} of {report['num_images']}, as {PSNR_CAP:.0f} dB" if exact else ""
  return (
    f"{_number(report[key])} dB {name}<br>median {_number(report[f'{key}_median'])}, "
    f"least {_number(report[f'{key}_minimum'])}{counted}"
  )
