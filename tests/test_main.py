"""Mistakes on the command line: one line, exit code 1, nothing written."""

import importlib
import math
import signal
import subprocess
import sys

import pytest
from PIL import Image

from configs import sr8
from prt_jax.main import config_argument, default_workdir
from tests.commands import assert_one_line, environment, run
from tests.conftest import ROOT


@pytest.mark.parametrize(
  ("argument", "workdir"),
  [
    ("configs/sr16.py", "runs/sr16-stochastic-robust"),
    ("configs/sr16.py:demo", "runs/sr16-stochastic-robust-demo"),
    ("configs/inpaint.py:mini", "runs/inpaint-stochastic-robust-mini"),
    ("configs/inpaint.py:deterministic-erratic,demo", "runs/inpaint-deterministic-erratic-demo"),
  ],
)
def test_default_workdir_names_config_and_variant(argument, workdir):
  assert str(default_workdir(argument)) == workdir
  assert config_argument(["main", "--mode=train", f"--config={argument}"]) == argument
  assert config_argument(["main", "--config", argument]) == argument


def test_imagenet_is_that_of_the_papers():
  names = {importlib.import_module(f"configs.imagenet_sr{factor}").get_config().data.name for factor in (4, 8, 16)}
  assert names == {"imagenet_resized/64x64"}


@pytest.mark.parametrize("scale", ["demo", "mini", "small", "lite"])
def test_a_smaller_scale_keeps_the_task(scale):
  """Input PSNR of the attack, 34 dB for super-resolution in the paper, and what a variant means."""
  full, small = (sr8.get_config(f"deterministic-robust{suffix}") for suffix in ("", f",{scale}"))
  psnr = [
    -10 * math.log10(config.attack.eps**2 / (config.data.image_size / config.degradation.factor) ** 2 / 3)
    for config in (full, small)
  ]
  assert psnr == pytest.approx([34.0, 34.0], abs=0.05)
  assert small.attack.num_seeds == 1 and not small.model.stochastic and small.optim.robust_weight == 500
  assert small.train.num_steps < full.train.num_steps


@pytest.mark.parametrize(
  ("flags", "parts"),
  [
    (["--config.optim.lerning_rate=1"], ["lerning_rate"]),
    (["--config.train.num_steps=many"], ["many"]),
    (["--nonsense=1"], ["nonsense"]),
    (["--config.train.batch_size=0"], ["train.batch_size=0"]),
    (["--config.seed=99999999999999999999999"], ["seed=99999999999999999999999 is not in [0, 4294967295]"]),
    (
      ["--mode=train_and_eval", "--config.eval.num_examples=9", "--config.eval.feature_extractor=pixels"],
      ["eval.num_examples=9, but", "8 validation images"],
    ),
    (["--config.train.checkpoint_every_steps=0"], ["train.checkpoint_every_steps=0 must be at least 1"]),
    (["--config.data.image_size=48"], ["data.image_size=48", "multiple of 32"]),
    (["--config.degradation.factor=7"], ["degradation.factor=7", "does not divide data.image_size=32"]),
    (["--config.model.dtype=float8"], ["model.dtype='float8'", "bfloat16"]),
    (["--config.train.steps_per_dispatch=2"], ["train.steps_per_dispatch=2", "whole cycles"]),
    (["--config.data.path=/no/such/folder"], ["/no/such/folder"]),
    (["--config.data.path="], ["data.path"]),
    (["--config.data.source=web"], ["data.source", "web", "folder"]),
  ],
)
def test_bad_fields(flags, parts, tmp_path, photographs):
  path = None if any("data.path" in flag for flag in flags) else photographs
  assert_one_line(run(f"--workdir={tmp_path / 'run'}", *flags, path=path), *parts)


def test_bad_config_files_and_variants(tmp_path):
  result = run(f"--workdir={tmp_path / 'run'}", config="configs/sr16.py:robust")
  assert_one_line(result, "unknown variant 'robust'", "stochastic-robust, stochastic-erratic")
  result = run(config="configs/sr16.py:deterministic-robust,tiny")
  assert_one_line(result, "unknown variant 'deterministic-robust,tiny'", "',demo' or ',mini' or ',small' or ',lite'")
  assert_one_line(run(config="configs/sr17.py"), "sr17.py")
  assert not (tmp_path / "run").exists()


def test_unusable_workdir(tmp_path, photographs):
  (tmp_path / "file").write_text("in the way")
  assert_one_line(run(f"--workdir={tmp_path / 'file' / 'run'}", path=photographs), "cannot use", "--workdir")
  assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("kind", ["empty", "truncated", "small"])
def test_bad_images_are_named(kind, tmp_path, photographs):
  folder = tmp_path / "images"
  (folder / "train").mkdir(parents=True)
  (folder / "val").mkdir()
  parts = [str(folder)]
  if kind != "empty":
    image = next((photographs / "train").iterdir())
    for i in range(12):
      (folder / "train" / f"{i}.png").write_bytes(image.read_bytes())
      (folder / "val" / f"{i}.png").write_bytes(image.read_bytes())
    bad = folder / "train" / "7.png"
    parts = ["7.png"]
    if kind == "truncated":
      bad.write_bytes(bad.read_bytes()[:300])
    else:
      Image.new("RGB", (20, 40)).save(bad)
      parts += ["20"]
  assert_one_line(run(f"--workdir={tmp_path / 'run'}", path=folder), *parts)


def test_batch_that_does_not_divide_over_the_devices(tmp_path, photographs):
  flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
  result = run(f"--workdir={tmp_path / 'run'}", "--config.train.batch_size=6", path=photographs, env=flags)
  assert_one_line(result, "train.batch_size=6 does not divide over 4 devices")


@pytest.mark.parametrize("module", ["main", "restore"])
def test_an_interruption_outside_of_training_is_one_line(module, tmp_path):
  """Ctrl-C while a config, or a restorer, of the user's own is loaded."""
  (tmp_path / "slow.py").write_text("import time\nprint('busy', flush=True)\ntime.sleep(1_000)\n")
  flags = {
    "main": [f"--config={tmp_path / 'slow.py'}"],
    "restore": ["--restorer=slow:restore", f"--input={tmp_path}", f"--output={tmp_path / 'out'}"],
  }
  # A shell's background jobs, these tests perhaps, are started with SIGINT ignored, and pass that on.
  program = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
  program += f"; runpy.run_module('prt_jax.{module}', run_name='__main__', alter_sys=True)"
  process = subprocess.Popen(
    [sys.executable, "-c", program, *flags[module]], cwd=ROOT,
    env=environment(PYTHONPATH=str(tmp_path)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
  )  # fmt: skip
  while process.stdout.readline() != "busy\n":
    assert process.poll() is None
  process.send_signal(signal.SIGINT)
  output, _ = process.communicate(timeout=60)
  assert len(output.splitlines()) == 1 and output.startswith("stopped by SIGINT: ")
  assert process.returncode == (75 if module == "main" else 130)


def test_no_config():
  result = run("--workdir=x", config="")
  assert_one_line(result, "config")
