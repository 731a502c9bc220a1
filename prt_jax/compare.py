"""Several evaluated runs side by side: python -m prt_jax.compare RUN RUN ... [--output=DIR]

A RUN is a workdir (its newest evaluation is taken) or an eval/STEP folder of one. The table is
printed; --output also writes compare.json and compare.html there.
"""

import html
import json
import pathlib

from prt_jax import report
from prt_jax.command_line import Parser, output_folder, run
from prt_jax.errors import UserError
from prt_jax.report_page import COMPARE_PAGE


def find(run: str) -> dict:
  """The newest report of a workdir, or the report of an eval/STEP folder; UserError where there is none."""
  folder = pathlib.Path(run)
  if not (folder / "report.json").exists():
    reports = [path for path in (folder / "eval").glob("*/report.json") if path.parent.name.isdecimal()]
    steps = sorted(reports, key=lambda path: int(path.parent.name))
    if not steps:
      raise UserError(f"no evaluation in {run}: run python -m prt_jax.main --mode=eval with --workdir={run} first")
    folder = steps[-1].parent
  content = report.read(folder)
  if "results" not in content:
    raise UserError(f"{folder / 'report.json'} is no evaluation of a training run (an audit, perhaps): name a workdir")
  try:
    alone = compare([content])
    (text(alone) + page(alone)).encode()  # all that is shown of it
  except report.MALFORMED as error:
    reason = f"{type(error).__name__}: {error}"
    raise UserError(f"{folder / 'report.json'} is damaged ({reason}): delete it and evaluate again") from error
  return content


def compare(reports: list[dict]) -> dict:
  """What the reports have in common and apart.

  Returns:
    {"runs": [{"run", "variant", "task", "step"}, ...], "results": {name: [result or None, one a run]},
    "published": [...], "warnings": [one line for whatever makes the columns no fair comparison]}.
  """
  names = [name for name in report.RESULTS if any(name in content["results"] for content in reports)]
  return {
    "runs": [{key: content[key] for key in ("run", "variant", "task", "step")} for content in reports],
    "results": {name: [content["results"].get(name) for content in reports] for name in names},
    "published": [content["published"] for content in reports],
    "warnings": warnings(reports),
  }


def warnings(reports: list[dict]) -> list[str]:
  """One line for each thing that differs between the runs and should not."""
  lines = []
  for what, get in (
    ("tasks", lambda content: content["task"]),
    ("data", lambda content: content["protocol"]["data"]),
    ("numbers of examples", lambda content: content["protocol"]["eval"]["num_examples"]),
    ("features", lambda content: content["results"].get("frechet", {}).get("label")),
    ("attack radii", lambda content: content["protocol"]["attack"]["eps"]),
    ("attack steps", lambda content: content["protocol"]["attack"]["num_steps"]),
    ("types that the nets compute in", lambda content: content["protocol"].get("dtype")),
    ("precisions of products", lambda content: content["protocol"].get("precision")),
    ("training steps", lambda content: content["step"]),
  ):
    values = list(dict.fromkeys(str(get(content)) for content in reports))
    if len(values) > 1:
      lines.append(f"{what} differ: {', '.join(values)}")
  return lines


def cells(compared: dict) -> list[list[str]]:
  """The table as text, header first: each result, and under it the published row where one is known."""
  table = [["", *(content["variant"] for content in compared["runs"])]]
  table.append(["step", *(f"{content['step']:,}" for content in compared["runs"])])
  for name, results in compared["results"].items():
    label = next(report.label(name, result) for result in results if result)
    table.append([label, *(report.formatted(name, result["value"]) if result else "-" for result in results)])
    numbers = [published["values"].get(name) for published in compared["published"]]
    if any(number is not None for number in numbers):
      shown = ("-" if number is None else report.formatted(name, number) for number in numbers)
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
  header, *lines = cells(compared)
  rows = "".join(
    f"<tr><th>{html.escape(first)}</th>{''.join(f'<td class=number>{html.escape(cell)}</td>' for cell in rest)}</tr>"
    for first, *rest in lines
  )
  return COMPARE_PAGE.substitute(
    title=html.escape(" against ".join(dict.fromkeys(content["task"] for content in compared["runs"]))),
    header="".join(f"<th>{html.escape(cell)}</th>" for cell in header),
    rows=rows,
    warnings="".join(f"<li class=missing>{html.escape(line)}</li>" for line in compared["warnings"]),
    runs="".join(f"<li>{html.escape(content['run'])}, step {content['step']:,}</li>" for content in compared["runs"]),
  )


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
    report.replace(output / "compare.json", json.dumps(compared, indent=2) + "\n")
    report.replace(output / "compare.html", page(compared))


if __name__ == "__main__":
  run(main)
