"""python -m experiments.board."""

import pathlib
import sys

from experiments import board
from experiments.board import entries as board_entries
from experiments.board import measuring, page
from experiments.command import run_command
from experiments.networks import NETWORKS
from prt_jax import devices
from prt_jax.commands.parser import Parser
from prt_jax.commands.restorer_flags import PUBLISHED_WIDTH
from prt_jax.errors import UserError
from prt_jax.io.json_files import read_object
from prt_jax.io.whole_files import write_json, write_whole

DOCS = pathlib.Path("docs")


def main(argv: list[str]) -> None:
  """Adds or measures what is asked for, then draws the pages."""
  arguments = _parser().parse_args(argv)
  if bool(arguments.weights) != bool(arguments.images):
    raise UserError("--weights=DIR and --images=DIR belong together: networks' files, and a folder that has the sets")
  folder = arguments.docs / board_entries.FOLDER.name
  folder.mkdir(parents=True, exist_ok=True)
  if arguments.add:
    report = _report(arguments.add)
    add(report, folder, name=arguments.name, source=arguments.source, trained_for=arguments.trained_for,
        dataset=arguments.set)  # fmt: skip
  if arguments.weights:
    devices.use_all_cores(PUBLISHED_WIDTH)
    first = dict(_number_of(text) for text in arguments.first.split(",") if text)
    networks = [name for name in arguments.networks.split(",") if name]
    wanted = measuring.jobs(arguments.weights, arguments.sets.split(","), _scales(arguments.scales), first, networks)
    there = board_entries.read_entries(folder)
    missing = [job for job in wanted if not measuring.is_there(job, there)]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} entries are there", flush=True)
    for job, output in measuring.measure(missing, arguments.weights, arguments.images, arguments.output):
      network = NETWORKS[job.network]
      add(_report(output), folder, source=network.source, trained_for=network.trained_for, dataset=job.dataset)
      draw(arguments.docs)
  draw(arguments.docs)


def add(report: dict, folder: pathlib.Path, **fields: str) -> pathlib.Path:
  """Makes, checks and writes the entry of an audit's report; fields: of entries.make_entry."""
  entry = board_entries.make_entry(report, **fields)
  board_entries.check_beside(entry, board_entries.read_entries(folder))
  path = folder / board_entries.file_name(entry)
  write_json(path, entry)
  print(f"{path}: {entry['restorer']} x{entry['scale']} on {entry['n']} pictures of {entry['set']}", flush=True)
  return path


def draw(docs: pathlib.Path) -> None:
  """Writes board.md and board.html from the entries."""
  entries = board_entries.read_entries(docs / board_entries.FOLDER.name)
  if not entries:
    raise UserError(f"{docs / board_entries.FOLDER.name} has no entries yet: see --add and --weights")
  write_whole(docs / "board.md", page.markdown(entries))
  write_whole(docs / "board.html", page.html(entries))
  print(f"{docs / 'board.md'} and {docs / 'board.html'} show {len(entries)} entries", flush=True)


def _report(audit: pathlib.Path) -> dict:
  path = audit / "report.json" if audit.is_dir() else audit
  try:
    report = read_object(path, "audit again")
  except (FileNotFoundError, NotADirectoryError):
    raise UserError(f"there is no {path}: --add takes an audit's --output, or its report.json") from None
  if not {"restorer", "protocol", "images"} <= report.keys():
    raise UserError(f"{path} is no audit's report: --add takes what python -m prt_jax.audit wrote")
  return report


def _number_of(text):
  name, _, number = text.partition(":")
  if name not in board_entries.SETS or not number.isdecimal() or int(number) not in board_entries.SETS[name]:
    known = ", ".join(f"{key}:{value}" for key, values in board_entries.SETS.items() for value in values)
    raise UserError(f"--first={text} is none of {known}")
  return name, int(number)


def _scales(text):
  known = {scale for network in NETWORKS.values() for scale in network.files}
  if not all(part.isdecimal() and int(part) in known for part in text.split(",")):
    raise UserError(f"--scales={text}: give some of {', '.join(map(str, sorted(known)))}, with commas between")
  return [int(part) for part in text.split(",")]


def _parser() -> Parser:
  parser = Parser(board.__doc__)
  parser.add_argument("--add", type=pathlib.Path, help="an audit's --output, or its report.json: becomes an entry")
  parser.add_argument("--name", default="", help="with --add: the restorer's name; default: its report's")
  parser.add_argument("--source", default="", help="with --add: where the weights can be had")
  parser.add_argument("--trained_for", default="", help="with --add: distortion, GAN, likelihood or other")
  parser.add_argument("--set", default="", help="with --add: which set it is; default: the name of the audited folder")
  parser.add_argument("--weights", type=pathlib.Path, help="folder of networks' files: measures what the board lacks")
  parser.add_argument("--images", type=pathlib.Path, help="with --weights: folder that has Set5, Set14, BSD100 in it")
  parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/board"), help="of the audits; resumed")
  parser.add_argument("--sets", default=",".join(board_entries.SETS), help="which are measured; default %(default)s")
  parser.add_argument("--networks", default="", help="which are measured, in order; default: all that --weights has")
  parser.add_argument("--scales", default="4,3,2", help="which are measured, in order; default %(default)s")
  parser.add_argument("--first", default="", help="SET:N, measure its first N pictures; default: all of them")
  parser.add_argument("--docs", type=pathlib.Path, default=DOCS, help="where board/, board.md and board.html are")
  return parser


if __name__ == "__main__":
  run_command(lambda: main(sys.argv[1:]))
