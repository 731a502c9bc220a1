"""metrics.jsonl: a run and an evaluation of it write side by side, and nothing is lost."""

import json

import pytest

from prt_jax import writers


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch):
  monkeypatch.setattr(writers, "_tensorboard_writer", lambda workdir: None)


def lines(workdir):
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_an_evaluation_of_a_run_that_still_trains_loses_no_line(tiny_config, tmp_path):
  run = writers.Writers(tmp_path, tiny_config, 0)
  run.write_scalars(1, {"r1": 0.1})
  for value in (3.0, 4.0):  # the second replaces the first
    writers.write_evaluation(tmp_path, 1, {"recall": value})
    run.write_scalars(int(value), {"r1": value})
  run.close()
  assert lines(tmp_path) == [
    {"step": 1, "r1": 0.1}, {"step": 3, "r1": 3.0}, {"step": 1, "recall": 4.0}, {"step": 4, "r1": 4.0},
  ]  # fmt: skip


def test_a_torn_last_line_does_not_cost_the_evaluation(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1, "r1": 0.1}\n{"step": 2, "r')
  writers.write_evaluation(tmp_path, 1, {"recall": 0.5})
  assert lines(tmp_path) == [{"step": 1, "r1": 0.1}, {"step": 1, "recall": 0.5}]
