"""The table, the figure and the pictures of experiments/real_restorers.py, from its measurements.jsonl."""

import json
import pathlib

import numpy as np
from PIL import Image

from experiments.networks import NETWORKS
from experiments.real_restorers import ALPHAS
from prt_jax.io.pictures import draw_grid, save_png
from prt_jax.io.whole_files import write_json, write_whole
from prt_jax.reporting.charts import Curve, draw_curves

# Warm colours for networks trained as GANs, cold ones for those trained for distortion, grey for interpolation.
COLORS = {
  "bicubic": "#777777", "imdn": "#12508c", "pan": "#3d8fd1", "carn_m": "#1f8a70", "safmn": "#4c3f91",
  "edsr": "#0b7285", "edsr_baseline": "#74b3c2", "srgan": "#c4452d", "compact": "#e08a1e", "esrgan": "#8f1d3f",
  "srflow": "#000000",
}  # fmt: skip
# App. G, Fig. 7. No digits of that figure are known: it is an order, not a table.
PUBLISHED = "Published (paper A, Fig. 7): SRFlow is far more robust than ESRGAN and about as robust as EDSR."
OF_THE_PAPER = ("srflow", "esrgan", "edsr")
SHOWN_ALPHAS = (0, 1, 4, 16)  # of 255, on the pictures
WINDOW = 128  # pixels a picture's side


def report(output: pathlib.Path, name: str, crop: int) -> None:
  """Writes table.md, summary.json, curves.svg and strips/ from the images that all networks were measured on."""
  lines = [json.loads(line) for line in (output / "measurements.jsonl").read_text().splitlines()]
  images = complete_images(lines)
  if not images:
    print("no image has been attacked on all networks yet: run the measurement on")
    return
  summary = summarise(lines, images)
  size = f"central squares of {crop} pixels" if crop else "whole images"
  table = render_table(summary, f"{name}, {size}, {len(images)} images: {', '.join(images)}")
  write_whole(output / "table.md", table)
  content = {"set": name, "images": images, "crop": crop, "networks": summary}
  write_json(output / "summary.json", content)
  curves = [
    Curve(
      [(point["input_psnr_db"], point["output_psnr_db"]) for point in summary[network]["points"]],
      f"{network} ({NETWORKS[network].trained_for})", COLORS[network],
      style="--" if NETWORKS[network].trained_for == "GAN" else "-",
    )
    for network in summary
  ]
  figure = draw_curves(curves, "input PSNR, dB", "output PSNR, dB", diagonal="output = input")
  write_whole(output / "curves.svg", figure + "\n")
  for image in images:
    save_png(output / "strips" / f"{image}.png", picture_strip(output / "images", image, list(summary)))
  print(table + published_order(summary))


def measured(lines: list[dict]) -> list[str]:
  """The networks that lines are of, in the order of experiments/networks.py."""
  names = {line["network"] for line in lines}
  return [name for name in NETWORKS if name in names]


def published_order(summary: dict) -> str:
  """The paper's order of its three networks, beside ours: SRFlow's output PSNR less the others' at each alpha."""
  if missing := [name for name in OF_THE_PAPER if name not in summary]:
    return f"\n{PUBLISHED} Not measured here: {', '.join(missing)}.\n"
  rows = ["", PUBLISHED, "", "| SRFlow's output PSNR less that of | attack | ", "|---|---"]
  rows[-2] += " | ".join(f"{alpha}/255" for alpha in ALPHAS) + " |"
  rows[-1] += "|---" * len(ALPHAS) + "|"
  for other in OF_THE_PAPER[1:]:
    for prefix, attack in (("", "I-FGSM"), ("strong_", "stronger")):
      pairs = zip(summary["srflow"]["points"], summary[other]["points"], strict=True)
      field = f"{prefix}output_psnr_db"
      cells = " | ".join(f"{mine[field] - its[field]:+.1f} dB" for mine, its in pairs)
      rows.append(f"| {other} | {attack} | {cells} |")
  return "\n".join(rows) + "\n"


def complete_images(lines: list[dict]) -> list[str]:
  """Images with a line for every measured network and alpha: means over others would compare different images."""
  networks = measured(lines)
  done = {(line["network"], line["image"], line["alpha_255"]) for line in lines}
  names = sorted({line["image"] for line in lines})
  return [name for name in names if all((network, name, alpha) in done for network in networks for alpha in ALPHAS)]


def summarise(lines: list[dict], images: list[str]) -> dict:
  """{network: {"psnr_y_db", "points": [{"alpha_255", "input_psnr_db", ...}, ...]}}: means; "lipschitz" is a maximum."""
  summary = {}
  for network in measured(lines):
    mine = [line for line in lines if line["network"] == network and line["image"] in images]
    points = []
    for alpha in ALPHAS:
      at_alpha = [line for line in mine if line["alpha_255"] == alpha]
      points.append({
        "alpha_255": alpha,
        "input_psnr_db": float(np.mean([line["input_psnr_db"] for line in at_alpha])),
        "output_psnr_db": float(np.mean([line["output_psnr_db"] for line in at_alpha])),
        "lipschitz": max(line["lipschitz"] for line in at_alpha),
        "lipschitz_mean": float(np.mean([line["lipschitz"] for line in at_alpha])),
        **{
          name: float(np.mean([line[name] for line in at_alpha]))
          for name in ("strong_input_psnr_db", "strong_output_psnr_db", "strong_late_gain_db")
        },
        "strong_lipschitz": max(line["strong_lipschitz"] for line in at_alpha),
      })
    distortion = float(np.mean([line["psnr_y_db"] for line in mine if line["alpha_255"] == ALPHAS[0]]))
    jacobian = max(line["lipschitz_from_jacobian"] for line in mine)
    summary[network] = {"psnr_y_db": distortion, "lipschitz_from_jacobian": jacobian, "points": points}
  return summary


def render_table(summary: dict, caption: str) -> str:
  """Markdown, two rows a network, I-FGSM's and the stronger attack's: output PSNR / input PSNR at each alpha, the
  largest K that the attack found, that of the Jacobian, what the stronger one's last tenth of steps gained at most."""
  header = " | ".join(f"{alpha}/255" for alpha in ALPHAS)
  title = f"| network | trained for | PSNR-Y | attack | {header} | K >= | K >= (Jacobian) | last steps, dB |"
  rows = [f"{caption}\n", title, "|---" * (len(ALPHAS) + 7) + "|"]
  for network in summary:
    points, distortion, kind = summary[network]["points"], summary[network]["psnr_y_db"], NETWORKS[network].trained_for
    for prefix, attack in (("", "I-FGSM"), ("strong_", "stronger")):
      output, given = f"{prefix}output_psnr_db", f"{prefix}input_psnr_db"
      cells = " | ".join(f"{point[output]:.1f} / {point[given]:.1f}" for point in points)
      largest = max(point[f"{prefix}lipschitz"] for point in points)
      first = "| | |" if prefix else f"| {network} | {kind} | {distortion:.2f}"
      gain = f"{max(point['strong_late_gain_db'] for point in points):.2f}" if prefix else ""
      jacobian = "" if prefix else f"{summary[network]['lipschitz_from_jacobian']:,.0f}"
      rows.append(f"{first} | {attack} | {cells} | {largest:,.0f} | {jacobian} | {gain} |")
  return "\n".join(rows) + "\n"


def picture_strip(folder: pathlib.Path, image: str, networks: list[str]) -> np.ndarray:
  """A grid of central windows: a row a network, a column an alpha."""
  columns = []
  for alpha in SHOWN_ALPHAS:
    tiles = []
    for network in networks:
      pixels = np.asarray(Image.open(folder / f"{image}-{network}-{alpha:02d}.png"), np.float32) / 255
      top, left = (max(side - WINDOW, 0) // 2 for side in pixels.shape[:2])
      tiles.append(pixels[top : top + WINDOW, left : left + WINDOW])
    columns.append((f"{alpha}/255" if alpha else "not attacked", np.stack(tiles)))
  return draw_grid(columns)
