"""The board's pages: docs/board.md, and docs/board.html, whose tables can be sorted."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from experiments.board.entries import ALPHAS, FLAGS, PROTOCOL, WHOLE
from prt_jax.attacks.table import ATTACKS
from prt_jax.metrics import PSNR_CAP
from prt_jax.reporting import page


class Column(NamedTuple):
  """Attributes:
  label: of the header, and under it.
  measure: a key of an entry's measures; "": the time of a restoration.
  digits: after the point; None: two to three significant ones.
  is_better_high: which way round it is first sorted.
  """

  label: str
  note: str
  measure: str
  digits: int | None
  is_better_high: bool


COLUMNS = (
  Column("PSNR-Y", "dB", "psnr_y_db", 2, True),
  Column("consistency", "dB", "consistency_db", 1, True),
  *(Column("I-FGSM", f"{alpha}/255, dB", f"ifgsm_{alpha}_output_psnr_db", 1, True) for alpha in ALPHAS),
  *(Column("stronger", f"{alpha}/255, dB", f"strong_sup_{alpha}_output_psnr_db", 1, True) for alpha in ALPHAS),
  Column("K", "median", "lipschitz_median", None, False),
  Column("K", "largest", "lipschitz_max", None, False),
  Column("joint index", "", "joint_index", 2, False),
  Column("time", "ms", "", None, False),
)
SORTED_BY = "strong_sup_4_output_psnr_db"
_RULES = {name: ATTACKS[name].definition.removesuffix(".") for name in ("ifgsm", "strong_sup")}
DEFINITIONS = (
  ("PSNR-Y", "of the luma against the original, 8 bits, without a border as wide as the scale. Of crops, so not "
   "the number of whole pictures that papers print"),
  ("consistency", f"PSNR between the measurement and the restoration, degraded again, at most {PSNR_CAP:.0f}"),
  ("I-FGSM, stronger", "output PSNR, that is PSNR between the restorations of the measurement and of the attacked one, "
   "clipped to [0, 1], under a sup-norm bound: high is robust. No attack finds the worst change: an upper bound"),
  ("I-FGSM", f"paper A's, {PROTOCOL['num_steps']} steps. {_RULES['ifgsm']}"),
  ("stronger", f"{PROTOCOL['num_strong_steps']} steps from each of two starts. {_RULES['strong_sup']}"),
  ("K", "the largest ratio of the change of the output to that of the input (L2) that the attacks and the Jacobian "
   "showed: a lower bound of the Lipschitz constant, by picture. Of outputs as they are, not clipped: those of some "
   "networks run away far beyond black and white (PAN's at 16/255, K in the tens of thousands and more)"),
  ("joint index", "root of the Frechet distance between 8x8 patches of originals and restorations, each joined with "
   "its measurement: raw pixels, no features of a network. It has a bias that falls with the number of pictures"),
  ("time", "wall clock of one restoration of the first picture, median of five calls, on the hardware named and beside "
   "what else it did: rough, and not comparable between machines"),
)  # fmt: skip
NOTES = (
  "Few pictures, and small crops of them: an interval says how far another draw of pictures would move a number (95%, "
  "bootstrap over pictures; of the joint index a jackknife). Every row of a table is of the same pictures, so that two "
  "rows may differ more surely than their intervals say. The largest K has no interval.",
  "Pictures: the central {crop}x{crop} pixels of each original, reduced by Pillow's bicubic filter to 8 bits; seed "
  "{seed}; {num_jacobian_steps} power iterations; {num_seeds} draws of Z of a stochastic restorer.".format(**PROTOCOL),
)


def tables(entries: Sequence[dict]) -> list[tuple[str, list[dict]]]:
  """[(title, its entries, most robust first)], a table a scale and set."""
  sets = list(WHOLE)

  def place(entry):
    return -entry["scale"], sets.index(entry["set"]), entry["n"]

  groups = itertools.groupby(sorted(entries, key=place), key=place)
  return [(_title(group[0]), sorted(group, key=_robustness)) for group in (list(own) for _, own in groups)]


def _title(entry):
  whole = WHOLE[entry["set"]]
  which = f"all {whole} pictures" if entry["n"] == whole else f"the first {entry['n']} of {whole} pictures"
  crop = entry["protocol"]["crop"]
  return f"x{entry['scale']}, {entry['set']}: {which}, central {crop}x{crop} pixels"


def _robustness(entry):
  return -entry["measures"][SORTED_BY]["value"]


def cell(entry: dict, column: Column) -> tuple[str, str, float | None]:
  """(value, interval, what it is sorted by) of a cell; ("", "", None) where it was not measured."""
  measure = {"value": 1000 * entry["seconds_an_image"]} if not column.measure else entry["measures"].get(column.measure)
  if measure is None:
    return "", "", None
  interval = measure.get("interval")
  between = f"{_text(interval[0], column.digits)} to {_text(interval[1], column.digits)}" if interval else ""
  return _text(measure["value"], column.digits), between, measure["value"]


def _text(value, digits):
  if digits is not None:
    return f"{value:.{digits}f}"
  return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def markdown(entries: Sequence[dict]) -> str:
  """docs/board.md."""
  lines = [_MARKDOWN_HEAD]
  for title, group in tables(entries):
    heads = [f"{column.label}, {column.note}" if column.note else column.label for column in COLUMNS]
    lines += [f"\n## {title}\n", f"| restorer | trained for | {' | '.join(heads)} |"]
    lines.append("|---|---" + "|---:" * len(COLUMNS) + "|")
    for entry in group:
      cells = []
      for column in COLUMNS:
        value, between, _ = cell(entry, column)
        cells.append(f"{value} ({between})" if between else value or "not measured")
      lines.append(f"| {entry['restorer']} | {entry['trained_for']} | {' | '.join(cells)} |")
  lines += ["\n## What the columns are\n", *(f"- {name}: {text}." for name, text in DEFINITIONS), ""]
  lines += [*(f"{note}\n" for note in NOTES), "Weights, with the beginning of their SHA-256:\n"]
  lines += [f"- `{file}` ({digest}...): {source}" for source, file, digest in _files(entries)]
  lines.append(f"\nHardware: {_hardware(entries)}.\n")
  return "\n".join(lines) + _MARKDOWN_TAIL.format(flags=" ".join(FLAGS))


def _files(entries):
  """[(source, file of weights, the beginning of its SHA-256), ...]."""
  weights = [entry["weights"] for entry in entries if entry["weights"]]
  return sorted({(own["source"], own["file"], own["sha256"][:12]) for own in weights})


def _hardware(entries):
  """What measured, in a line."""
  return "; ".join(sorted({f"{e['hardware']['processor']}, {e['hardware']['device']}" for e in entries}))


def html(entries: Sequence[dict]) -> str:
  """docs/board.html: one file, nothing is fetched."""
  groups = [
    (title, [(entry, [cell(entry, column) for column in COLUMNS]) for entry in group])
    for title, group in tables(entries)
  ]
  return page.render(
    "board.html", groups=groups, columns=COLUMNS, sorted_by=SORTED_BY, definitions=DEFINITIONS, notes=NOTES,
    files=_files(entries), hardware=_hardware(entries),
  )


_MARKDOWN_HEAD = """# A board of restorers

Published networks under one protocol: how near to the original, how consistent, how robust. The same tables, to be
sorted: [board.html](board.html), one file. Entries: `docs/board/*.json`, one for a restorer and a set. Rows are in the
order of the output PSNR under the stronger attack at 4/255, the most robust first; bicubic interpolation is there to be
compared with."""
_MARKDOWN_TAIL = """
## A restorer of your own

    python -m prt_jax.audit --restorer=... --checkpoint=FILE --input=DIR/Set5 --output=runs/mine \\
      {flags}
    python -m experiments.board --add=runs/mine --name=NAME --source=URL --trained_for=distortion

The first command audits (any restorer that [restorers.md](restorers.md) names), the second makes the entry of its
report, checks it against `experiments/board/entry.schema.json`, the protocol and the other entries, says in one line
what is missing, and draws both pages anew. Send the entry's file; weights and pictures stay where they are.

    python -m experiments.board --weights=DIR --images=DIR

measures every network whose file `--weights` has (`experiments/networks.py` says which) on the sets in `--images`, one
after the other, and adds what is missing; stopped, the same command goes on. `--sets=Set5`, `--scales=4` and
`--first=BSD100:20` choose a part.
"""
