"""Several evaluated runs side by side: python -m prt_jax.compare RUN RUN ... [--output=DIR]

A RUN is a workdir (its newest evaluation is taken), an eval/STEP folder of one, or an audit's output. The table is
printed; --output also writes compare.json and compare.html there.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

from prt_jax.commands.parser import Parser, output_folder, run
from prt_jax.errors import UserError
from prt_jax.evaluation.results import rows
from prt_jax.io.whole_files import write_json, write_whole
from prt_jax.reporting import evaluation_report
from prt_jax.reporting.page import render


def find(run: str) -> dict:
  """The newest report of a workdir, or the report of an eval/STEP folder; UserError where there is none."""
  folder = pathlib.Path(run)
  if not (folder / "report.json").exists():
    reports = [path for path in (folder / "eval").glob("*/report.json") if path.parent.name.isdecimal()]
    steps = sorted(reports, key=lambda path: int(path.parent.name))
    if not steps:
      raise UserError(f"no evaluation in {run}: run python -m prt_jax.main --mode=eval with --workdir={run} first")
    folder = steps[-1].parent
  content = evaluation_report.read(folder) or {}
  if "results" not in content:
    raise UserError(
      f"{folder / 'report.json'} is no evaluation of a training run, and no audit of this version: name a workdir, or "
      "audit again"
    )
  if "restorer" in content:
    content |= {
      "run": str(folder), "made": content.get("run", {}), "variant": content["restorer"], "step": 0,
      "task": f"audit of {content['num_images']} images", "published": {"source": "", "values": {}},
    }  # fmt: skip
  try:
    alone = compare([content])
    (text(alone) + page(alone)).encode()  # all that is shown of it
  except evaluation_report.MALFORMED as error:
    reason = f"{type(error).__name__}: {error}"
    raise UserError(f"{folder / 'report.json'} is damaged ({reason}): delete it and evaluate again") from error
  return content


def compare(reports: list[dict]) -> dict:
  """What the reports have in common and apart.

  Returns:
    {"runs": [{"run", "variant", "task", "step"}, ...], "results": {name: [result or None, one a run]},
    "published": [...], "warnings": [one line for whatever makes the columns no fair comparison]}.
  """
  names = [name for name in rows() if any(name in content["results"] for content in reports)]
  return {
    "runs": [{key: content[key] for key in ("run", "variant", "task", "step")} for content in reports],
    "results": {name: [content["results"].get(name) for content in reports] for name in names},
    "published": [content["published"] for content in reports],
    "warnings": warnings(reports),
  }


# Fields that differ without making the columns unequal, and why.
EXCEPTIONS = {
  "weights": "every run has its own",
  "version": "of what is kept of a measurement: what it means has stayed",
}
# Fields of later versions: a report without them has measured nothing that they would have changed.
LATER = (
  "eval.curve_", "eval.num_jacobian_steps", "num_strong_steps", "num_std_seeds", "num_neighbors", "min_images",
  "measuring_weights",
)  # fmt: skip
# Of how an audit was made, audit.record: what else its numbers depend on.
MADE = {"set": "sets of pictures", "images_sha256": "pictures", "degradation": "degradations", "scale": "scales",
        "crop": "crops"}  # fmt: skip
# How many draws of Z: of deterministic restorers, which have none, it says nothing.
DRAWS = ("num_seeds", "num_std_seeds", "attack.num_seeds", "eval.num_std_seeds")
WORDS = {
  "eval.num_examples": "numbers of examples",
  "attack.eps": "attack radii",
  "attack.num_steps": "attack steps",
  "dtype": "types that the nets compute in",
  "precision": "precisions of products",
  "measuring_weights": "weights of the features or of the LPIPS-style distance",
}


def warnings(reports: list[dict]) -> list[str]:
  """One line for each thing that differs between the runs and should not: all of their protocols but EXCEPTIONS, and
  what audits were made of."""
  protocols = [
    {field: value for field, value in _flat(content["protocol"]) if _is_stochastic(content) or field not in DRAWS}
    for content in reports
  ]
  compared = {"tasks": [content["task"] for content in reports]}
  for field in dict.fromkeys(field for protocol in protocols for field in protocol):
    values = [protocol.get(field) for protocol in protocols]
    if field.startswith(LATER) or field in DRAWS:
      values = [value for value in values if value is not None]
    if field not in EXCEPTIONS:
      compared[WORDS.get(field, field)] = values
  for field, what in MADE.items():  # unknown of an evaluation, of an audit in Python, and of older reports
    compared[what] = [content["made"][field] for content in reports if field in content.get("made", {})]
  compared["features"] = [content["results"].get("frechet", {}).get("label") for content in reports]
  compared["training steps"] = [content["step"] for content in reports]
  lines = []
  for what, values in compared.items():
    if len(different := list(dict.fromkeys(map(str, values)))) > 1:
      lines.append(f"{what} differ: {', '.join(different)}")
  return lines


def _is_stochastic(content: dict) -> bool:
  return content.get("stochastic", not content["variant"].startswith("deterministic"))


def _flat(protocol: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """The fields of a protocol as (group.name, value); those that change no value are left out."""
  for name, value in protocol.items():
    if isinstance(value, dict):
      yield from _flat(value, f"{prefix}{name}.")
    elif prefix + name not in evaluation_report.NO_PROTOCOL:
      yield prefix + name, value


def cells(compared: dict) -> list[list[str]]:
  """The table as text, header first: each result, and under it the published row where one is known."""
  table = [["", *(content["variant"] for content in compared["runs"])]]
  table.append(["step", *(f"{content['step']:,}" for content in compared["runs"])])
  for name, results in compared["results"].items():
    label = next(evaluation_report.label(name, result) for result in results if result)
    shown = (evaluation_report.formatted(name, result["value"]) if result else "-" for result in results)
    table.append([label, *shown])
    numbers = [published["values"].get(name) for published in compared["published"]]
    if any(number is not None for number in numbers):
      shown = ("-" if number is None else evaluation_report.formatted(name, number) for number in numbers)
      table.append(["  published", *shown])
  return table


def text(compared: dict) -> str:
  """The table for a terminal."""
  table = cells(compared)
  widths = [max(map(len, column)) for column in zip(*table, strict=True)]
  lines = [
    "  ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))])
    for first, *rest in table
  ]
  return "\n".join(lines + [f"not a fair comparison: {line}" for line in compared["warnings"]])


def page(compared: dict) -> str:
  """The table as a self-contained HTML page."""
  header, *rows = cells(compared)
  title = " against ".join(dict.fromkeys(run["task"] for run in compared["runs"]))
  runs = [run["run"] + f", step {run['step']:,}" for run in compared["runs"]]
  return render("comparison.html", title=title, warnings=compared["warnings"], header=header, rows=rows, runs=runs)


def main(argv: list[str]) -> None:
  """The command line."""
  parser = Parser(__doc__)
  parser.add_argument("runs", nargs="+", metavar="RUN", help="a workdir, or one of its eval/STEP folders")
  parser.add_argument("--output", help="a folder for compare.json and compare.html")
  arguments = parser.parse_args(argv)
  compared = compare([find(folder) for folder in arguments.runs])
  print(text(compared))
  if arguments.output:
    output = output_folder(arguments.output)
    write_json(output / "compare.json", compared)
    write_whole(output / "compare.html", page(compared))


if __name__ == "__main__":
  run(main)
