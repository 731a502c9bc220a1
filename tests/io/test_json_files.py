"""JSON that is not what it should be: one line wherever it is read, and a metrics file mends itself."""

import json

import pytest

from prt_jax import compare
from prt_jax.config_check import checked
from prt_jax.data.cache import find_prepared
from prt_jax.errors import UserError
from prt_jax.io.file_digests import DIGESTS, Damaged, check_digests
from prt_jax.io.json_files import parse_object, read_object
from prt_jax.reporting import evaluation_report
from prt_jax.restorers.from_run import load_run
from prt_jax.training.checkpoints import check_workdir
from prt_jax.training.data_identity import check_data
from prt_jax.training.writers import keep_lines_until, write_evaluation
from tests import tiny
from tests.test_compare import make_report

NO_OBJECTS = {
  "null": b"null", "list": b"[]", "number": b"1", "text": b'"a"', "empty": b"", "cut": b'{"seed": 1',
  "zeros": bytes(64), "no UTF-8": b'{"seed\xff": 1}', "UTF-16": '{"seed": 1}'.encode("utf-16"), "deep": b"[" * 100_000,
}  # fmt: skip
no_objects = pytest.mark.parametrize("content", NO_OBJECTS.values(), ids=NO_OBJECTS)


def one_line(error, path):
  assert "\n" not in str(error.value) and str(path) in str(error.value)


@no_objects
def test_what_is_no_object_is_one_error_and_one_line(tmp_path, content):
  with pytest.raises(ValueError):
    parse_object(content)
  path = tmp_path / "config.json"
  path.write_bytes(content)
  calls = (read_object, path, "x"), (check_workdir, tmp_path, tiny.get_config()), (load_run, tmp_path)
  for reader, *arguments in calls:
    with pytest.raises(UserError) as error:
      reader(*arguments)
    one_line(error, path)


class _Dataset:
  fingerprint, digests, train, val = "f", {"train": "a", "val": "b"}, [0] * 3, [0] * 2


@no_objects
def test_the_other_files_of_a_run(tmp_path, content):
  (tmp_path / "data.json").write_bytes(content)
  with pytest.raises(UserError) as error:
    check_data(tmp_path, _Dataset)
  one_line(error, tmp_path / "data.json")
  (tmp_path / "report.json").write_bytes(content)
  for reader in (lambda: compare.find(str(tmp_path)), lambda: evaluation_report.read(tmp_path, {})):
    with pytest.raises(UserError, match="delete it and evaluate again") as error:
      reader()
    one_line(error, tmp_path / "report.json")
  (tmp_path / DIGESTS).write_bytes(content)
  with pytest.raises(Damaged):
    check_digests(tmp_path)


@pytest.mark.parametrize(
  "content",
  [{"fingerprint": "g"}, {"fingerprint": "g", "counts": [], "digests": {}}, {"fingerprint": "g", "counts": {}}],
)
def test_data_records_of_other_fields(tmp_path, content):
  (tmp_path / "data.json").write_text(json.dumps(content))
  with pytest.raises(UserError, match=r"data\.json cannot be read"):
    check_data(tmp_path, _Dataset)
  (tmp_path / "data.json").write_text(json.dumps({"fingerprint": "g", "counts": {"train": None}, "digests": {}}))
  with pytest.raises(UserError, match="None training and None validation images there, 3 and 2 here"):
    check_data(tmp_path, _Dataset)


@pytest.mark.parametrize(
  "change",
  [
    {"step": None}, {"task": 1}, {"run": []}, {"variant": "\ud800"}, {"results": []}, {"protocol": None},
    {"results": {"psnr_db": {"value": "x"}}}, {"results": {"psnr_db": 3}}, {"results": {"frechet": {"value": 1}}},
    {"results": {"psnr_db": {"value": 10**400}}}, {"published": None}, {"hardware": 3, "protocol": {}},
  ],
  ids=str,
)  # fmt: skip
def test_reports_of_other_fields_and_types(tmp_path, change):
  make_report(tmp_path, "stochastic-robust", 900, 1.0)
  path = tmp_path / "eval/900/report.json"
  content = json.loads(path.read_text()) | change
  path.write_text(json.dumps(content))
  with pytest.raises(UserError, match="delete it and evaluate again") as error:
    compare.find(str(tmp_path))
  one_line(error, path)


def test_folders_beside_the_evaluations_are_passed_over(tmp_path):
  make_report(tmp_path, "stochastic-robust", 900, 1.0)
  for name in ("notes", "9²"):
    (tmp_path / "eval" / name).mkdir()
    (tmp_path / "eval" / name / "report.json").write_text("{}")
  assert compare.find(str(tmp_path))["step"] == 900


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("train.num_steps", "8"), ("train.num_steps", 8.5), ("train.num_steps", None), ("model.stochastic", 1),
    ("seed", True), ("attack.eps", "small"), ("optim.decay_steps", [1, "2"]), ("optim.decay_steps", 6),
    ("data.source", 3),
  ],
)  # fmt: skip
def test_a_field_of_another_type_is_named(tmp_path, field, value):
  content = json.loads(tiny.get_config().to_json())
  group, _, name = field.rpartition(".")
  (content[group] if group else content)[name] = value
  (tmp_path / "config.json").write_text(json.dumps(content))
  with pytest.raises(UserError, match=field):
    load_run(tmp_path)
  assert checked(tiny.get_config())


def test_a_metrics_file_mends_itself(tmp_path):
  path = tmp_path / "metrics.jsonl"
  good = [b'{"step": 3, "loss": 1.0}\n', b'{"step": 6, "loss": 0.5}\n']
  damaged = [content.replace(b"\n", b"") + b"\n" for content in NO_OBJECTS.values()]
  damaged += [b'{"step": null}\n', b'{"step": "6"}\n', b'{"loss": 1}\n', b'{"step": 3, "l\xffss": 1.0}\n']
  damaged.append(b'{"step": 9, "lo')
  path.write_bytes(b"".join([good[0], *damaged[:6], good[1], *damaged[6:]]))
  keep_lines_until(path, 6)
  assert path.read_bytes() == b"".join(good)
  path.write_bytes(b"null\n" + good[0] + b"[3]\n")
  write_evaluation(tmp_path, 3, {"eval/psnr_db": 20.0})
  assert [json.loads(line) for line in path.read_text().splitlines()] == [
    {"step": 3, "loss": 1.0}, {"step": 3, "eval/psnr_db": 20.0}
  ]  # fmt: skip


def test_a_prepared_set_whose_record_is_damaged_is_not_there(make_tiny_data):
  data, folder = make_tiny_data
  assert find_prepared(data)[1]["counts"] == {"train": 24, "val": 8}
  kept = (folder / "meta.json").read_bytes()
  for content in (*NO_OBJECTS.values(), b"{}", b'{"counts": []}', b'{"counts": {"train": "x", "val": 8}}'):
    (folder / "meta.json").write_bytes(content)
    assert find_prepared(data) is None
  (folder / "meta.json").write_bytes(kept)


@pytest.fixture
def make_tiny_data(tiny_config, tmp_path):
  from prt_jax.data import prepare

  tiny_config.data.cache_dir = str(tmp_path)
  return tiny_config.data, prepare(tiny_config.data).folder
