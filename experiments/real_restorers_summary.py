"""Several runs of experiments.real_restorers as one JSON and one figure.

  python -m experiments.real_restorers_summary runs/real_restorers/Set5 runs/real_restorers/Set14 --out docs/results
  python -m experiments.real_restorers_summary docs/results/real_restorers.json

The second draws anew what the first has kept.
"""

import argparse
import json
import pathlib
import time

from experiments.command import run_command
from experiments.figures import BLACK, new_figure, save_figure
from experiments.networks import NETWORKS
from experiments.real_restorers_report import COLORS
from experiments.results import FOLDER, write_results
from prt_jax.errors import UserError


def title(summary: dict) -> str:
  """What a run attacked, in a line."""
  size = f"central {summary['crop']}x{summary['crop']}" if summary["crop"] else "whole"
  images = summary["images"]
  return f"{summary['set']}, {size}, {len(images)} images" if len(images) > 1 else f"{images[0]}, {size}"


def draw(summaries: list[dict], folder: pathlib.Path) -> pathlib.Path:
  """Output PSNR against input PSNR as in paper A's Fig. 7, a panel a run; from right to left alpha grows.

  Markers: the stronger attack, dashed where a network was trained as a GAN; thin dots: I-FGSM. A panel of a run that
  has I-FGSM alone says so.
  """
  figure, panels = new_figure(1, len(summaries), 3.0 * len(summaries) + 0.6, 3.3, sharey=True, squeeze=False)
  for axes, summary in zip(panels[0], summaries, strict=True):
    for network in summary["networks"]:
      kind, color = NETWORKS[network].trained_for, COLORS[network]
      points = summary["networks"][network]["points"]
      axes.plot(*_curve(points, ""), ":", color=color, linewidth=0.8)
      if both := "strong_output_psnr_db" in points[0]:
        style = "s--" if kind == "GAN" else "o-"
        axes.plot(*_curve(points, "strong_"), style, color=color, label=f"{network} ({kind})")
    axes.axline((30, 30), slope=1, color=BLACK, linewidth=0.6, linestyle=":")
    axes.set(title=title(summary) + ("" if both else ",\nI-FGSM alone"), xlabel="input PSNR, dB")
  panels[0, 0].set_ylabel("output PSNR, dB")
  panels[0, 0].legend(loc="upper left")
  return save_figure(figure, folder, "real_restorers")


def _curve(points, prefix):
  return [[point[f"{prefix}{name}_psnr_db"] for point in points] for name in ("input", "output")]


def read(path: pathlib.Path) -> list[dict]:
  """The summary of a run's folder, or those of a file that this command wrote."""
  content = json.loads((path if path.suffix == ".json" else path / "summary.json").read_text())
  return content.get("runs", [content])


def main(argv: list[str] | None = None) -> None:
  """Reads every run's summary.json; writes real_restorers.json and real_restorers.png."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "runs", nargs="+", type=pathlib.Path, help="--output folders of experiments.real_restorers, or this command's files"
  )
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER)
  args = parser.parse_args(argv)
  started, summaries = time.monotonic(), []
  for run in args.runs:
    try:
      summaries += read(run)
    except OSError as error:
      raise UserError(f"{run} holds no summary.json ({error.strerror}): run experiments.real_restorers first") from None
  write_results(args.out, "real_restorers", {"runs": summaries}, time.monotonic() - started)
  draw(summaries, args.out)


if __name__ == "__main__":
  run_command(main)
