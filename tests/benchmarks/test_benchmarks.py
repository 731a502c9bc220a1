"""The benchmarks: the JSON's contract, tables, hand counts against XLA's; nothing about how long anything takes."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import pytest

from benchmarks import memory, results, roofline, settings, startup, train_step
from benchmarks.workers import RowFailed
from prt_jax.errors import UserError
from prt_jax.models import UNet
from prt_jax.models.formulations import FORMULATIONS
from tests.conftest import CACHE, FLAGS, ROOT


class FakeWorker:
  """Takes the seconds it is told; a row without more samples fails."""

  def __init__(self, *seconds):
    self.seconds = list(seconds)

  def begin_warm_up(self, step):
    pass

  def end_warm_up(self):
    return {"first_call_s": 9.0, "peak_memory_bytes": 2**30}

  def sample(self, step):
    if not self.seconds:
      raise RowFailed("out of samples")
    return self.seconds.pop(0)


def fake_results():
  record = {"rows": {"jax": "JAX", "torch_eager": "PyTorch", "torch_compile": "PyTorch"}, "settings": {"batch": 4}}
  workers = {
    "jax": FakeWorker(1.0, 5.0, 2.0),
    "torch_eager": FakeWorker(4.0, 4.0, 4.0),
    "torch_compile": FakeWorker(1.0),
  }
  record["robust"] = train_step.measure_step("robust", workers, 3, record)
  return record


def test_medians_and_spread_of_alternating_rows():
  record = fake_results()
  assert record["robust"]["jax_s"] == 2.0
  assert record["robust"]["torch_eager_s"] == 4.0
  assert (record["robust"]["jax"]["min_s"], record["robust"]["jax"]["max_s"]) == (1.0, 5.0)
  assert "torch_compile" not in record["robust"]


def test_a_row_that_fails_says_why_and_leaves_the_others():
  record = fake_results()
  assert record["rows"]["torch_compile"] == "does not run: out of samples"
  table = train_step.render(record)
  assert "torch_compile: does not run: out of samples" in table
  line = next(line for line in table.splitlines() if line.startswith("robust  jax"))
  assert line.split() == ["robust", "jax", "2", "1", "to", "5", "2", "0.5", "1", "7"]


def test_command_writes_the_contract(tmp_path):
  """A real run of the smallest net: both libraries, every step, in processes of their own."""
  pytest.importorskip("torch", reason="the opponent needs PyTorch: pip install -r requirements-test.txt")
  path = tmp_path / "new" / "train_step.json"
  command = [sys.executable, "-m", "benchmarks.train_step", "--device=cpu", "--batch=2", f"--json={path}"]
  command += ["--seeds=2", "--attack_steps=2", "--width=2", "--critic_width=2", "--image_size=32", "--repeats=1"]
  environment = os.environ | {
    "XLA_FLAGS": FLAGS,
    "JAX_COMPILATION_CACHE_DIR": str(CACHE / "xla"),
  }
  finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
  assert finished.returncode == 0, finished.stderr
  record = json.loads(path.read_text())
  for step in ("critic", "plain", "robust", "cycle"):
    for row in ("jax", "torch_eager"):
      assert record[step][f"{row}_s"] > 0
      assert record[step][row]["samples_s"] and record[step][row]["peak_memory_bytes"] > 0
    assert record[step]["jax"]["compile_s"] > 0 and record[step]["jax"]["compiled_bytes"] > 0
  assert {"hardware", "versions", "command", "settings", "rows"} <= record.keys()
  assert record["settings"]["batch"] == 2
  (tmp_path / "new" / "train_step_cpu16.json").write_text(path.read_text())
  page = results.page(tmp_path / "new")
  assert "cycle   jax" in page and record["command"] in page


def test_unmeasured_sections_say_so(tmp_path):
  page = results.page(tmp_path)
  assert page.count("not yet run") == len(results.MEASUREMENTS)
  command = "python -m benchmarks.train_step --device=cpu --batch=16 --repeats=5"
  assert f"{command} --json=benchmarks/results/train_step_cpu16.json" in page


@pytest.mark.parametrize("measurement", results.MEASUREMENTS, ids=lambda measurement: measurement.stem)
def test_listed_commands_have_flags_that_exist(measurement, monkeypatch):
  """Each command of the page gets as far as its config, which is made to stop it."""
  import importlib

  def stop(args):
    raise UserError(f"reached {args.batch}")

  monkeypatch.setattr(settings, "load_config", stop)
  with pytest.raises(UserError, match="reached"):
    importlib.import_module(f"benchmarks.{measurement.module}").main(measurement.flags.split())


def test_published_page_is_what_its_files_make():
  assert results.PAGE.read_text() == results.page(results.FOLDER)


@pytest.mark.parametrize(("width", "size"), [(4, 32), (24, 64)])
def test_unet_counted_by_hand_is_what_xla_counts(width, size, monkeypatch):
  # As written in the paper: in blocks, kernels hold zeros that XLA counts.
  plain = dataclasses.replace(FORMULATIONS["cpu"], tuned_convolutions=False)
  monkeypatch.setitem(FORMULATIONS, "gpu", plain)
  unet = UNet(width=width, platform="gpu")
  x = jax.ShapeDtypeStruct((1, size, size, 3), "float32")
  z = tuple(jax.ShapeDtypeStruct((1, *shape), "float32") for shape in UNet.noise_shapes(size))
  variables = jax.eval_shape(lambda x, z: unet.init(jax.random.key(0), x, z, train=False), x, z)
  lowered = jax.jit(lambda v, x, z: unet.apply(v, x, z, train=False)).lower(variables, x, z)
  # XLA leaves the taps that fall on the padding out, and counts what is not a convolution.
  assert lowered.cost_analysis()["flops"] == pytest.approx(roofline.unet_flops(width, size), rel=0.2)


def test_convolution_flops_by_hand():
  assert roofline.convolution_flops([(4, 3, 2, 5), (2, 1, 1, 1)]) == 2 * 16 * 9 * 10 + 8


def test_memory_goes_on_where_it_was(tmp_path, monkeypatch):
  measured = []

  def measure(config, batch, seeds, at_once):
    measured.append((batch, seeds, at_once))
    return {
      "batch": batch,
      "seeds": seeds,
      "seeds_at_once": at_once,
      "peak_bytes": 1e9,
      "fits_16_gb": True,
      "compile_s": 1,
    }

  monkeypatch.setattr(memory, "measure", measure)
  path = tmp_path / "memory.json"
  counts = ["--seed_counts=1,2", "--at_once=2,1"]
  memory.main(["--device=cpu", f"--json={path}", "--batches=4", *counts])
  assert measured == [(4, 1, 1), (4, 2, 2), (4, 2, 1)]
  memory.main(["--device=cpu", f"--json={path}", "--batches=4,8", *counts])
  assert measured[3:] == [(8, 1, 1), (8, 2, 2), (8, 2, 1)]


def test_startup_reads_the_steps_from_the_log():
  script = "import sys; sys.stderr.write('12:00:00 step 1 of 3  critic_loss 1\\nstep 3 of 3  critic_loss 1\\n')"
  seconds = startup.first_steps([sys.executable, "-c", script], "cpu", 3)
  assert 0 < seconds["first_step_s"] <= seconds["first_cycle_s"]
  with pytest.raises(UserError, match="the training command failed: error: no data"):
    startup.first_steps([sys.executable, "-c", "import sys; sys.exit('error: no data')"], "cpu", 3)


def test_unknown_rows_and_configs_are_refused():
  with pytest.raises(UserError, match="'torch' is unknown: choose among jax"):
    train_step.main(["--rows=jax,torch"])
  with pytest.raises(UserError, match=r"no config configs/nothing.py"):
    train_step.main(["--config=configs/nothing.py"])
