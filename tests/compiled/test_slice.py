"""The robust step on a TPU v5e slice of 2x2 chips, spread by pmap as training is."""

from benchmarks.compiled import COLLECTIVE
from tests.compiled.programs import check_recorded, compile_program


def test_robust_step_on_four_chips(tmp_path, request):
  flags = "--step=robust", "--batch=512", "--attack_steps=1", "--effort=quick"
  row = compile_program(tmp_path, "--target=tpu-v5e", "--chips=4", *flags)
  assert (row["chips"], row["hosts"]) == (4, 1)
  count, size = row["collectives"]["all-reduce"]
  # Every gradient of both players crosses the links (4 bytes each), and statistics with them.
  assert size > 4 * (31_604 + 90_203) and count > 1
  assert row["collective_seconds"] > 0 == row["by_kind"][COLLECTIVE]
  assert row["argument_bytes"] + row["temp_bytes"] < 16 * 2**30
  check_recorded("robust_2x2", row, record=request.config.getoption("--record"))
