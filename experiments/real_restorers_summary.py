"""Several runs of experiments.real_restorers as one JSON and one figure.

  python -m experiments.real_restorers_summary runs/real_restorers/Set5 runs/real_restorers/Set14 --out docs/results
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

  Markers: the stronger attack, dashed where a network was trained as a GAN; thin dots: I-FGSM.
  """
  figure, panels = new_figure(1, len(summaries), 3.0 * len(summaries) + 0.6, 3.3, sharey=True, squeeze=False)
  for axes, summary in zip(panels[0], summaries, strict=True):
    for network in summary["networks"]:
      kind = NETWORKS[network].trained_for
      points = summary["networks"][network]["points"]
      axes.plot(
        [point["input_psnr_db"] for point in points], [point["output_psnr_db"] for point in points],
        ":", color=COLORS[network], linewidth=0.8,
      )  # fmt: skip
      axes.plot(
        [point["strong_input_psnr_db"] for point in points], [point["strong_output_psnr_db"] for point in points],
        "s--" if kind == "GAN" else "o-", color=COLORS[network], label=f"{network} ({kind})",
      )  # fmt: skip
    axes.axline((30, 30), slope=1, color=BLACK, linewidth=0.6, linestyle=":")
    axes.set(title=title(summary), xlabel="input PSNR, dB")
  panels[0, 0].set_ylabel("output PSNR, dB")
  panels[0, 0].legend(loc="upper left")
  return save_figure(figure, folder, "real_restorers")


def main(argv: list[str] | None = None) -> None:
  """Reads every run's summary.json; writes real_restorers.json and real_restorers.png."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("runs", nargs="+", type=pathlib.Path, help="--output folders of experiments.real_restorers")
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER)
  args = parser.parse_args(argv)
  started, summaries = time.monotonic(), []
  for run in args.runs:
    try:
      summaries.append(json.loads((run / "summary.json").read_text()))
    except OSError as error:
      raise UserError(f"{run} holds no summary.json ({error.strerror}): run experiments.real_restorers first") from None
  write_results(args.out, "real_restorers", {"runs": summaries}, time.monotonic() - started)
  draw(summaries, args.out)


if __name__ == "__main__":
  run_command(main)
