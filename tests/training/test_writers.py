"""metrics.jsonl: a run and an evaluation of it write side by side, and nothing is lost."""

import json
import time

import pytest

from prt_jax.training import writers


@pytest.fixture
def no_tensorboard(monkeypatch):
  monkeypatch.setattr(writers, "_tensorboard_writer", lambda workdir, purge_after=None: None)


def lines(workdir):
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_an_evaluation_of_a_run_that_still_trains_loses_no_line(tiny_config, tmp_path, no_tensorboard):
  run = writers.Writers(tmp_path, tiny_config, 0)
  run.write_scalars(1, {"r1": 0.1})
  for value in (3.0, 4.0):  # the second replaces the first
    writers.write_evaluation(tmp_path, 1, {"recall": value})
    run.write_scalars(int(value), {"r1": value})
  run.close()
  assert lines(tmp_path) == [
    {"step": 1, "r1": 0.1}, {"step": 3, "r1": 3.0}, {"step": 1, "recall": 4.0}, {"step": 4, "r1": 4.0},
  ]  # fmt: skip


@pytest.mark.parametrize("damage", [b'{"step": 2, "r', b"\xff\xfe\n", b"null\n", b"[]\n", b'"\xc3\x28"\n'])
def test_a_damaged_line_does_not_cost_the_evaluation(damage, tmp_path, no_tensorboard):
  (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "r1": 0.1}\n' + damage)
  writers.write_evaluation(tmp_path, 1, {"recall": 0.5})
  assert lines(tmp_path) == [{"step": 1, "r1": 0.1}, {"step": 1, "recall": 0.5}]


def test_a_resumed_run_is_one_curve_in_tensorboard(tiny_config, tmp_path):
  """Steps 4 and 5 of the first session were lost with it and are measured again: by its readers, one by one."""
  pytest.importorskip("clu.metric_writers", reason="events are written through CLU and TensorFlow")
  from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
  from tensorboard.util import tensor_util

  def curve(reader):
    points = reader.EventAccumulator(str(tmp_path), purge_orphaned_data=True).Reload().Tensors("r1")
    return [(event.step, round(float(tensor_util.make_ndarray(event.tensor_proto)), 5)) for event in points]

  watching = plugin_event_accumulator.EventAccumulator(str(tmp_path), purge_orphaned_data=True)
  for first_step, steps in ((0, (1, 2, 3, 4, 5)), (3, (4, 5, 6))):
    session = writers.Writers(tmp_path, tiny_config, first_step)
    for step in steps:
      session.write_scalars(step, {"r1": first_step + step / 10})
    session.close()
    watching.Reload()
    time.sleep(1.1)  # event files are told apart, and put in order, by their seconds
  expected = [(1, 0.1), (2, 0.2), (3, 0.3), (4, 3.4), (5, 3.5), (6, 3.6)]
  assert curve(plugin_event_accumulator) == curve(event_accumulator) == expected
  assert [event.step for event in watching.Tensors("r1")] == [1, 2, 3, 4, 5, 6]
  assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5, 6]
  # Whatever numbers end the other names: between the sessions' files, also where all are of one second.
  names = sorted(path.name for path in tmp_path.glob("events.out.tfevents.*"))
  first, start, second = names
  assert start.endswith(".-session_start") and start < start.replace("-session_start", "0") and first < start < second


def test_a_torn_event_file_is_no_obstacle(tiny_config, tmp_path):
  pytest.importorskip("clu.metric_writers", reason="events are written through CLU and TensorFlow")
  session = writers.Writers(tmp_path, tiny_config, 0)
  session.write_scalars(1, {"r1": 1.0})
  session.close()
  (path,) = tmp_path.glob("events.out.tfevents.*")
  whole = path.read_bytes()
  path.write_bytes(whole[:-3])
  writers.Writers(tmp_path, tiny_config, 0).write_scalars(1, {"r1": 1.0})
  assert whole.startswith(path.read_bytes())
