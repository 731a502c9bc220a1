"""An audit as files: report.json for programs, report.html for people (one file, nothing is fetched)."""

import math
import pathlib

import numpy as np

from prt_jax.attacks.table import ATTACKS, PAPERS, STRONGER
from prt_jax.audit import Pictures
from prt_jax.io.pictures import eight_bits
from prt_jax.io.whole_files import write_json, write_whole
from prt_jax.metrics import PSNR_CAP
from prt_jax.reporting import page
from prt_jax.reporting.charts import COLORS, Curve, draw_curves
from prt_jax.reporting.evaluation_report import formatted, label

WINDOW = 160  # pixels of a restoration that the gallery shows, where it changes most
NUM_WORST = 6  # images in the gallery
GAIN = 4  # differences are drawn that many times larger
_BOUND = {"sup": "at most alpha in any value", "L2": "of a root mean square of at most alpha over all its values"}
_ARITHMETIC = {"highest": "products in float32", "its own": "products as the restorer's own framework computes them"}


def write_report(folder: pathlib.Path, report: dict, pictures: list[Pictures]) -> None:
  """Writes report.json and report.html into a folder, each beside and renamed."""
  folder.mkdir(parents=True, exist_ok=True)
  write_json(folder / "report.json", _json_ready(report))
  write_whole(folder / "report.html", render(report, pictures))


def _json_ready(value):
  """JSON has no infinity: a PSNR between equal images becomes "inf"."""
  if isinstance(value, dict):
    return {name: _json_ready(item) for name, item in value.items()}
  if isinstance(value, list | tuple):
    return [_json_ready(item) for item in value]
  return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def render(report: dict, pictures: list[Pictures]) -> str:
  """The whole page. report: of audit.summarise; pictures: of its images, in order."""
  order = sorted(range(report["num_images"]), key=lambda index: -report["images"][index]["lipschitz_lower_bound"])
  results, norm = report.get("results", {}), report["protocol"]["norm"]
  return page.render(
    "audit.html",
    report={"missing": (), **report},
    kind=_kind(report),
    arithmetic=_ARITHMETIC[report["protocol"]["precision"]],
    summary=_summary(report),
    chart=_chart(report),
    attacks=_attacks(report),
    papers=ATTACKS[PAPERS[norm]].title,
    bound=_BOUND[norm],
    stronger=_stronger(report, ATTACKS[STRONGER[norm]]),
    results=[
      (label(name, result), formatted(name, result["value"]), result["n"], report["definitions"][name])
      for name, result in results.items()
    ],
    images=_images(report, order),
    gallery=[
      (report["images"][index]["name"], [_tiles(pictures[index], *attack) for attack in pictures[index].attacked])
      for index in order[:NUM_WORST]
    ],
    window=WINDOW,
    gain=GAIN,
  )


def _stronger(report, attack):
  """What it is, and what twice its steps gained; "" where it was left out."""
  if "robustness_strong" not in report:
    return ""
  gain = ""
  if twice := report.get("twice_the_steps"):
    gain = (
      f" Twice its steps changed the restorations by {_number(twice['gain_db'])} dB more at "
      f"{255 * twice['alpha']:.3g}/255, by {_number(twice['gain_db_maximum'])} at most "
      f"({twice['num_images']} of the images were tried)."
    )
  return attack.definition + gain


def _kind(report):
  if report["stochastic"]:
    return f"a stochastic restorer, {report['protocol']['num_seeds']} draws of Z an image"
  return "a deterministic restorer"


def _summary(report):
  """[(quantity, value, what it means), ...]."""
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
     f"the restorer itself takes and returns {report['range']}. A network overshoots at edges; much more is another "
     "range."),
    ("Lipschitz bound", f"K \u2265 {_number(report['lipschitz_lower_bound'])}", "The largest ratio of the change of "
     "the output to the change of the input (L2) that the attacks and the Jacobian showed on any of these images. A "
     f"LOWER bound: the true constant may be far larger, and a stronger attack would raise it.{_floors(report)}"),
    ("Diversity", _number(report["per_pixel_std"]), "Per-pixel standard deviation over draws of Z, in units of white. "
     "0 for a deterministic restorer: it shows one of the images that explain the measurement, always the same."),
  ]
  points = report.get("robustness_strong", report["robustness"])
  middle = points[len(points) // 2]
  if "w1" in middle:
    rows.append(("Move of the distribution", f"{middle['w1']:.4f}", "W1, in RMSE, between what the restorer draws for "
      f"a measurement and for the attacked one (at {255 * middle['alpha']:.3g}/255, the same Z, exact assignment); at "
      f"most {middle['w1_coupled']:.4f}, the mean change of a draw. A sampler's draws may change though their "
      "distribution hardly does."))
  if joint := report.get("joint_index"):
    rows.append(("Joint perceptual index", _number(joint["value"]), joint["meaning"]))
  return rows


def _floors(report):
  floors = report.get("exact_consistency")
  if not floors:
    return ""
  above = floors["robustness_above_input_db"]
  beside = "the input PSNR" if abs(above) < 0.005 else f"the input PSNR and {above:.2f} dB"
  return (
    f" Agreeing exactly with every measurement forces K \u2265 {_number(floors['lipschitz'])}, whatever is invented, "
    f"and robustness of at most {beside}; K beyond that, the root of the difference of squares: "
    f"{_number(floors['lipschitz_beyond'])}."
  )


def _bicubic(report):
  value = report.get("bicubic_psnr_y_db")
  return "" if value is None else f"Bicubic interpolation has {_number(value)} dB on the same images. "


def _without(borders):
  pixels = " or ".join(map(str, borders))
  return f"without {pixels} pixels on each side" if any(borders) else "whole images"


def _chart(report):

  def points(robustness):
    return [(point["input_psnr_db"], point["output_psnr_db"]) for point in robustness]

  curves = [
    Curve(points(image["robustness"]), "" if index else "each image", "#b9c7d6", 1, marker="")
    for index, image in enumerate(report["images"])
  ]
  curves.append(Curve(points(report["robustness"]), "mean", COLORS[1]))
  if "robustness_strong" in report:
    curves.append(Curve(points(report["robustness_strong"]), "mean, stronger attack", COLORS[2]))
  return draw_curves(curves, "input PSNR, dB", "output PSNR, dB", diagonal="output = input")


def _attacks(report):
  """(header, rows) of the table of attacks, a row a bound and attack."""
  attacks = {"robustness": ATTACKS[PAPERS[report["protocol"]["norm"]]].title, "robustness_strong": "stronger"}
  attacks = {field: title for field, title in attacks.items() if field in report}
  draws = ("w1", "w1_coupled") if "w1" in report["robustness"][0] else ()
  header = ["alpha", "attack", "input PSNR, dB", "output PSNR, dB", "median", "least"]
  header += [f"at {PSNR_CAP:.0f} dB", "largest K"]
  header += ["W1, RMSE", "at most", "robustness, dB, fresh noise"] if draws else []
  header += ["gain of the last tenth of steps, dB"] if "robustness_strong" in report else []
  rows = []
  for points in zip(*(report[field] for field in attacks), strict=True):
    for title, point in zip(attacks.values(), points, strict=True):
      row = [f"{255 * point['alpha']:.3g}/255", title, _number(point["input_psnr_db"])]
      row += [_number(point[f"output_psnr_db{end}"]) for end in ("", "_median", "_minimum")]
      row += [point["output_psnr_db_num_exact"], _number(point["lipschitz_worst_draw"])]
      row += [*(f"{point[name]:.4f}" for name in draws), _number(point["fresh_robustness_db"])] if draws else []
      row += [_number(point["late_gain_db"]) if "late_gain_db" in point else ""] if len(attacks) > 1 else []
      rows.append(row)
  return header, rows


def _images(report, order):
  """(header, rows) of the table of images."""
  alphas = report["protocol"]["alphas"]
  middle = len(alphas) // 2
  attacks = {"robustness": "", "robustness_strong": ", stronger attack"}
  attacks = {field: title for field, title in attacks.items() if field in report}
  header = [
    "image", "PSNR-Y, dB", "consistency, dB",
    *(f"output PSNR, dB, at {255 * alphas[middle]:.3g}/255{title}" for title in attacks.values()), "K, attacks",
    "K, Jacobian", "std over Z",
  ]  # fmt: skip
  rows = []
  for image in (report["images"][index] for index in order):
    values = [image["psnr_y_db"], image["consistency_db"]]
    values += [image[field][middle]["output_psnr_db"] for field in attacks]
    values += [image["lipschitz_from_attacks"], image["lipschitz_from_jacobian"], image["per_pixel_std"]]
    rows.append([image["name"], *map(_number, values)])
  return header, rows


def _tiles(picture, alpha, attacked_y, attacked_x):
  """[(title, uint8 [h,w,3]), ...] of one attack on an image, cut to where it changes most."""
  restored, scale = picture.restored, max(1, picture.restored.shape[0] // picture.measurement.shape[0])
  top, left = _window(np.abs(attacked_x - restored).sum(-1), scale)
  tiles = [("original", picture.original)] if picture.original is not None else []
  tiles += [
    ("measurement", _enlarged(picture.measurement, restored.shape)),
    (f"attacked, {255 * alpha:.3g}/255", _enlarged(attacked_y, restored.shape)),
    ("restored", restored),
    ("restored from attacked", attacked_x),
    (f"difference x{GAIN}", 0.5 + GAIN / 2 * (attacked_x - restored)),
  ]
  return [(title, eight_bits(tile[top : top + WINDOW, left : left + WINDOW])) for title, tile in tiles]


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


def _number(value):
  if value is None:
    return "not measured"
  if not math.isfinite(value):
    return "\u221e"
  return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _psnr(report, key, name):
  if report[key] is None:
    return "not measured"
  exact = report[f"{key}_num_exact"]
  counted = f"; exact: {exact} of {report['num_images']}, as {PSNR_CAP:.0f} dB" if exact else ""
  return (
    f"{_number(report[key])} dB {name}\nmedian {_number(report[f'{key}_median'])}, "
    f"least {_number(report[f'{key}_minimum'])}{counted}"
  )
