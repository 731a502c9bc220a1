"""The command line of the audit: python -m prt_jax.audit --restorer=NAME --input=DIR --output=DIR [...]"""

import argparse
import dataclasses
import pathlib
import time

from prt_jax.attacks.table import PAPERS
from prt_jax.audit import ALPHAS, Auditor, Protocol
from prt_jax.audit.attack_runs import NUM_TWICE
from prt_jax.audit.record import record, seconds_an_image
from prt_jax.commands import restorer_flags, run_images
from prt_jax.commands.compile_time import CompileTime
from prt_jax.commands.parser import Parser
from prt_jax.data.image_files import describe_skipped
from prt_jax.errors import UserError
from prt_jax.evaluate import load_networks
from prt_jax.evaluation.store import Store
from prt_jax.features.extractors import Extractor, make_extractor
from prt_jax.reporting.audit_report import write_report
from prt_jax.restorers.from_run import read_config

_DESCRIPTION = """How far can a restorer be trusted? Distortion, consistency, robustness, Lipschitz bounds, diversity.

Writes report.json and report.html (one file, to be opened in a browser) into --output."""


def main(argv: list[str]) -> None:
  """Audits the images of a folder; prints a line an image."""
  arguments = _parser().parse_args(argv)
  restorer_flags.use_all_cores(arguments)
  start, compiling = time.perf_counter(), CompileTime()
  protocol = _protocol(arguments)
  extractor, lpips, missing = _networks(arguments)
  restorer, pairs, noise_std, skipped, _ = restorer_flags.load(arguments)
  output = restorer_flags.output(arguments)
  protocol = dataclasses.replace(protocol, noise_std=noise_std)
  pairs = list(pairs)
  made, measurement = record(arguments, restorer, pairs), pairs[0].y
  if restorer.image_size and arguments.degradation != "none":
    # Measured with the batch, as an evaluation does.
    pairs = [dataclasses.replace(pair, y=None) for pair in pairs]
  auditor = Auditor(
    restorer, protocol, extractor=extractor, lpips=lpips, store=Store(output / "columns"),
    reference=restorer_flags.reference(arguments, restorer),
  )
  for done, image in enumerate(auditor.audit(pairs), start=1):
    # Written after every image, so that a run that is stopped leaves what it has measured.
    report = auditor.report(complete=done == len(pairs))
    report["run"], report["missing"] = made, missing + report["missing"]
    if done == len(pairs):
      made["seconds_an_image"] = seconds_an_image(restorer, measurement)
    if skipped:
      report["remarks"].append(f"left out {describe_skipped(skipped)}")
    write_report(output, report, auditor.pictures)
    print(_progress(image, done, len(pairs), time.perf_counter() - start), flush=True)
  print(_summary(report))
  seconds = time.perf_counter() - start
  sizes = len({picture.measurement.shape for picture in auditor.pictures})
  programs = f"{compiling.programs} programs for {sizes} size{'s' if sizes > 1 else ''} of measurements"
  advice = "; --crop=common takes one size of all, compiled once" if sizes > 1 else ""
  print(f"{seconds:.0f} s, {compiling.seconds / seconds:.0%} of them compiling {programs}{advice}")
  for remark in report["remarks"]:
    print(f"remark: {remark}")
  print(f"{output / 'report.json'} and {output / 'report.html'} hold the audit of {restorer.name}")


def _parser() -> Parser:
  parser = Parser(_DESCRIPTION)
  restorer_flags.add_flags(parser)
  parser.add_argument(
    "--alphas", help="comma-separated bounds of the attacks, in 1/255; default "
    + ",".join(f"{255 * alpha:g}" for alpha in ALPHAS),
  )
  parser.add_argument(
    "--norm", choices=PAPERS, help="what they bound: sup, the largest change of any value of a measurement (default); "
    "L2, the root mean square over all",
  )
  parser.add_argument("--num_steps", type=int, help="steps of the papers' attack; default 50")
  parser.add_argument(
    "--num_strong_steps", type=int,
    help="steps of each start of the stronger attack beside it, one random and one along the Jacobian's direction; "
    "default: a fifth more than --num_steps, so that it takes 2.4 times as long; 0 = none. With twice as many it is "
    f"tried on the first {NUM_TWICE} images at the middle bound: what that gains is reported",
  )
  parser.add_argument(
    "--feature_extractor",
    help="features of Frechet distance, precision, recall, density and coverage: pixels, squeezenet, inception, "
    "inception_piq, package.module:NAME, or none; default pixels, of a run's own images that of its evaluation",
  )
  parser.add_argument("--feature_weights", default="", help="the extractor's file; inception is downloaded without")
  parser.add_argument(
    "--reference", help="folder of images that restorations should resemble as a set; default: the originals"
  )
  parser.add_argument("--num_neighbors", type=int, help="k of precision, recall, ...; default 3")
  parser.add_argument(
    "--min_images", type=int, default=50, help="fewer images give no distances between sets; default 50"
  )
  parser.add_argument("--num_seeds", type=int, help="draws of Z of a stochastic restorer; default 10")
  parser.add_argument("--num_restarts", type=int, default=1, help="starts an attack, the strongest counts; default 1")
  parser.add_argument(
    "--num_jacobian_steps", type=int, help="power iterations for the Jacobian's norm; 0 = none; default 10"
  )
  parser.add_argument(
    "--border", type=int, help="pixels on each side that PSNR-Y leaves out; default: the scale, for a training run 0"
  )
  return parser


def _protocol(arguments) -> Protocol:
  """Of the flags that are given; of a run's own images otherwise that of its evaluation, so that both agree."""
  flags = vars(arguments)
  given = {field.name: flags.get(field.name) for field in dataclasses.fields(Protocol) if field.name != "noise_std"}
  given = {name: value for name, value in given.items() if value is not None}
  if arguments.alphas is not None:
    given["alphas"] = _alphas(arguments.alphas)
  own = run_images.own_protocol(pathlib.Path(arguments.restorer).expanduser()) if not arguments.input else {}
  return Protocol(**own | given)


def _networks(arguments) -> tuple[Extractor | None, dict | None, list[str]]:
  """evaluate.load_networks of the flags; of a run's own images without them those of its evaluation."""
  workdir = pathlib.Path(arguments.restorer).expanduser()
  if arguments.feature_extractor is None and not arguments.input and (workdir / "config.json").is_file():
    config = read_config(workdir)
    config.eval.feature_weights = arguments.feature_weights or config.eval.feature_weights
    return load_networks(config)
  name = arguments.feature_extractor or "pixels"
  if name == "none":
    return None, None, []
  flags = argparse.Namespace(feature_extractor=name, feature_weights=arguments.feature_weights)
  return make_extractor(flags, pathlib.Path("~/.cache/prt_jax").expanduser()), None, []


def _alphas(text: str) -> tuple[float, ...]:
  try:
    return tuple(float(alpha) / 255 for alpha in text.split(","))
  except ValueError:
    raise UserError(f"--alphas={text} is no comma-separated list of numbers (in 1/255), 1,2,4 for example") from None


def _summary(report: dict) -> str:
  """What stands behind the numbers, in one line."""
  low, high = report["restored_range"]
  parts = [f"restorations from {low:.3g} to {high:.3g}"]
  if report["psnr_y_db"] is not None:
    beside = f", bicubic's {report['bicubic_psnr_y_db']:.2f}" if "bicubic_psnr_y_db" in report else ""
    borders = " or ".join(map(str, report["border"]))
    parts.append(f"PSNR-Y {report['psnr_y_db']:.2f} dB{beside} (border {borders})")
  return "; ".join(parts)


def _progress(result: dict, done: int, total: int, seconds: float) -> str:
  psnr = "" if result["psnr_y_db"] is None else f"PSNR-Y {result['psnr_y_db']:.2f} dB, "
  first = result["robustness"][0]
  strong = "robustness_strong" in result
  stronger = f" ({result['robustness_strong'][0]['output_psnr_db']:.1f} under the stronger)" if strong else ""
  return (
    f"{done}/{total} {result['name']}: {psnr}output PSNR {first['output_psnr_db']:.1f} dB under the smallest attack"
    f"{stronger}, K >= {result['lipschitz_lower_bound']:.1f}, {seconds:.0f} s so far"
  )
