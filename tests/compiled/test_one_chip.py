"""A TPU v5e's programs of one attack step and of a plain training step."""

import pytest

from benchmarks.compiled import KINDS
from tests.compiled.programs import check_recorded, compile_program, unet_flops_inside

CONTRACT = {"target", "step", "batch", "dtype", "flops", "bytes", "estimated_cycles", "kernels", "temp_bytes",
            "code_bytes", "compile_seconds", "by_kind"}  # fmt: skip


def test_attack_step(tmp_path, request):
  row = compile_program(tmp_path, "--target=tpu-v5e", "--step=attack", "--batch=128")
  assert row.keys() >= CONTRACT
  # Forward and backward through the U-Net, for 128 images and 2 seeds; what all seeds share is computed once.
  passes = 2 * unet_flops_inside(8, 32) * 128 * 2
  # Planes in blocks multiply by kernels that hold zeros as well.
  assert 0.9 * passes < row["flops"] < 3 * passes
  assert sum(row["by_kind"].values()) == row["estimated_cycles"] and row["by_kind"].keys() == set(KINDS)
  assert row["bytes"] == pytest.approx(row["bytes_by_compiler"], rel=0.1)
  assert 0 < row["roofline_share"] < 1
  check_recorded("attack", row, record=request.config.getoption("--record"))


def test_plain_step(tmp_path, request):
  row = compile_program(tmp_path, "--target=tpu-v5e", "--step=plain", "--batch=128", "--effort=quick")
  assert row["chips"] == row["hosts"] == 1
  # The state is donated: what comes out lies where it came in.
  assert row["alias_bytes"] > 0.99 * row["output_bytes"]
  check_recorded("plain", row, record=request.config.getoption("--record"))
