"""The plan's table: rows of compiled programs become programs beside their counts."""

import json

import pytest

from benchmarks import calibrate
from prt_jax.errors import UserError
from prt_jax.plan.calibration import Program
from prt_jax.plan.counts import Affine, Work
from prt_jax.plan.work import StepWork


def row(**fields):
  return {
    "target": "tpu-v5e", "step": "plain", "batch": 4, "dtype": "bfloat16", "chips": 1, "seeds": 1, "width": 2,
    "critic_width": 2, "image_size": 32, "config": "configs/sr16.py:deterministic-robust,demo", "jax": "0.12.0",
    "flops": 3_800, "bytes": 9_000, "memory_bytes": 5_000, "estimated_cycles": 300, "temp_bytes": 70, "code_bytes": 8,
  } | fields  # fmt: skip


@pytest.fixture(autouse=True)
def counts(monkeypatch):
  """1,000 FLOPs an example of a plain step, ten times as many of a robust one; 10 bytes moved and 20 kept."""

  def step(self, platform, robust):
    assert platform == "tpu"
    return Work(Affine(0, 10_000 if robust else 1_000), Affine(0, 10), (Affine(0, 20),))

  monkeypatch.setattr(StepWork, "step", step)


def test_rows_become_the_table(tmp_path):
  rows = tmp_path / "rows.json"
  quick = row(effort="quick", estimated_cycles=2)
  skipped = [row(step="attack"), row(step="cycle"), row(chips=4)]
  rows.write_text(json.dumps([*skipped, row(estimated_cycles=1), row(), row(step="robust", flops=39_000), quick]))
  table = tmp_path / "table.py"
  calibrate.main([str(rows), f"--table={table}"])
  written = {}
  exec(table.read_text(), written)
  plain, robust = (Program(**fields) for fields in written["PROGRAMS"])
  # The later row of a program counts; traffic is that of main memory.
  assert (plain.step, plain.batch, plain.cycles) == ("plain", 4, 300)
  assert (plain.moved, plain.temporaries, plain.code) == (5_000, 70, 8)
  assert (plain.counted_flops, plain.counted_moved, plain.counted_peak) == (4_000, 40, 80)
  assert (robust.step, robust.counted_flops) == ("robust", 40_000)
  assert "0.12.0" in plain.source and "sr16" in plain.config


def test_a_gpu_has_no_cycles(monkeypatch):
  work = Work(Affine(0, 1_000), Affine(0, 10), (Affine(0, 20),))
  monkeypatch.setattr(StepWork, "step", lambda *_: work)
  (program,) = calibrate.calibrate([row(target="h100", estimated_cycles=None, memory_bytes=9_000)])
  assert program["cycles"] is None and program["moved"] == 9_000


def test_a_row_of_another_code_is_refused():
  with pytest.raises(UserError, match=r"tpu-v5e plain: .* 0\.50 times the FLOPs"):
    calibrate.calibrate([row(flops=2_000)])


def test_a_row_names_its_config():
  config = calibrate.config_of(row(seeds=1, attack_steps=3))
  assert (config.model.width, config.train.batch_size, config.model.dtype) == (2, 4, "bfloat16")
  assert (config.attack.num_steps, config.data.image_size, config.model.stochastic) == (3, 32, False)


def test_files_without_rows(tmp_path):
  (tmp_path / "rows.json").write_text(json.dumps([row(step="attack")]))
  with pytest.raises(UserError, match="no row of one chip"):
    calibrate.main([str(tmp_path / "rows.json"), f"--table={tmp_path / 'table.py'}"])
  with pytest.raises(UserError, match="cannot read the rows"):
    calibrate.main([str(tmp_path / "absent.json")])
