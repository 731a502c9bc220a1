"""An H100's programs: by hand (`make compiled-gpu`), since the compiler is gigabytes."""

from tests.compiled.programs import compile_program, unet_flops_inside


def test_attack_step(tmp_path):
  row = compile_program(tmp_path, "--target=h100", "--step=attack", "--batch=128")
  passes = 2 * unet_flops_inside(8, 32) * 128 * 2
  assert 0.9 * passes < row["flops"] < 1.1 * passes
  assert row["estimated_cycles"] is None and row["bytes"] == sum(row["by_kind"].values())


def test_plain_step_on_eight_cards(tmp_path):
  row = compile_program(tmp_path, "--target=h100", "--chips=8", "--step=plain", "--batch=1024")
  assert row["collectives"]["all-reduce"][1] > 4 * (31_604 + 90_203)
