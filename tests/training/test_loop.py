"""The command, end to end: kills and signals change nothing, a finished run says so, bad input is one line."""

import json
import os
import shutil
import signal
import time

import numpy as np
import orbax.checkpoint as ocp
import pytest

from prt_jax.training.stop_request import EXIT_CODE, INTERRUPTED
from prt_jax.training.writers import SPEED_SCALARS, keep_lines_until
from tests.commands import assert_one_line, run, start

TIMEOUT = 300


def parameters(workdir, step=8):
  """The checkpoint's arrays, read by Orbax alone."""
  tree = ocp.StandardCheckpointer().restore((workdir / "checkpoints" / str(step) / "default").absolute())
  leaves = {}

  def walk(tree, prefix):
    for name, value in tree.items():
      walk(value, f"{prefix}{name}/") if isinstance(value, dict) else leaves.update({prefix + name: np.asarray(value)})

  walk(tree, "")
  return leaves


def metrics(workdir):
  """The lines of metrics.jsonl without their wall-clock scalars."""
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  return [{name: value for name, value in line.items() if name not in SPEED_SCALARS} for line in lines]


def assert_same_run(a, b):
  assert metrics(a) == metrics(b)
  ours, theirs = parameters(a), parameters(b)
  assert ours.keys() == theirs.keys()
  for name in ours:
    np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.fixture(scope="session")
def finished(photographs, tmp_path_factory):
  """A run of 8 steps that nothing disturbed, and what it printed."""
  workdir = tmp_path_factory.mktemp("finished") / "run"
  result = run(f"--workdir={workdir}", path=photographs)
  assert result.returncode == 0, result.stderr
  return workdir, result.stderr


def test_a_run_leaves_what_it_promises(finished):
  workdir, log = finished
  lines = metrics(workdir)
  assert [line["step"] for line in lines] == [3, 6, 8]
  expected = {
    "critic_loss", "generator_loss", "critic_real", "critic_fake", "r1", "robustness_loss", "delta_norm", "ai_psnr",
    "consistency_psnr", "consistency_max_error", "generator_gradient_norm", "critic_gradient_norm", "learning_rate",
    "critic_margin", "gradient_ratio", "robust_gradient_norm", "seed_std", "collapse_signs",
  }
  assert lines[0].keys() == {"step"} | expected
  # Steps 7 and 8 are plain: what only a robust step measures has no value there.
  assert lines[2].keys() == {"step"} | expected - {
    "robustness_loss", "delta_norm", "ai_psnr", "gradient_ratio", "robust_gradient_norm", "seed_std",
  }  # fmt: skip
  assert lines[0]["delta_norm"] == pytest.approx(0.1, rel=1e-3)
  assert lines[0]["ai_psnr"] == pytest.approx(-10 * np.log10(0.01 / 12), abs=0.01)
  assert lines[0]["consistency_max_error"] < 1e-6
  assert lines[0]["critic_margin"] == pytest.approx(lines[0]["critic_real"] - lines[0]["critic_fake"])
  # Six steps at 1e-3, then the scheduled factor 0.6.
  assert [line["learning_rate"] for line in lines] == pytest.approx([1e-3, 1e-3, 6e-4])
  raw = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[0])
  assert raw["images_per_second"] == pytest.approx(8 * raw["steps_per_second"])
  assert sorted(path.name for path in (workdir / "images").iterdir()) == ["00000004.png", "00000008.png"]
  assert sorted(path.name for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()) == ["4", "6", "8"]
  assert list(workdir.glob("events.out.tfevents.*"))
  assert "Total:" in (workdir / "parameters.txt").read_text()
  assert json.loads((workdir / "config.json").read_text())["train"]["num_steps"] == 8
  assert "complete: 8 of 8 steps" in log
  assert "ETA" in log


def test_the_same_command_again_says_that_the_run_is_complete(finished, photographs):
  workdir, _ = finished
  before = parameters(workdir)
  result = run(f"--workdir={workdir}", path=photographs)
  assert result.returncode == 0
  assert "complete: 8 of 8 steps" in result.stderr
  assert parameters(workdir).keys() == before.keys()


def wait_for(process, condition):
  deadline = time.monotonic() + TIMEOUT
  while not condition():
    assert process.poll() is None, process.stdout.read()
    assert time.monotonic() < deadline, "the run never came so far"
    time.sleep(0.002)


def test_killed_or_stopped_at_any_moment_a_run_ends_as_if_nothing_happened(finished, photographs, tmp_path):
  """SIGKILL while a checkpoint is being written, SIGTERM, SIGKILL after a log line, and a torn last line."""
  workdir = tmp_path / "run"
  folder, log = workdir / "checkpoints", workdir / "metrics.jsonl"
  process = start(f"--workdir={workdir}", path=photographs)
  wait_for(process, lambda: folder.exists() and any("tmp" in path.name for path in folder.iterdir()))
  process.kill()
  process.wait()
  process = start(f"--workdir={workdir}", path=photographs)
  wait_for(process, lambda: log.exists() and '"step": 3' in log.read_text())
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=TIMEOUT)
  assert process.returncode == EXIT_CODE == 75, output
  assert "stopped by SIGTERM after step" in output
  process = start(f"--workdir={workdir}", path=photographs)
  wait_for(process, lambda: '"step": 6' in log.read_text())
  process.kill()
  process.wait()
  with log.open("a") as file:
    file.write('{"step": 9, "critic_lo')
  result = run(f"--workdir={workdir}", path=photographs)
  assert result.returncode == 0, result.stderr
  assert "resuming" in result.stderr
  assert_same_run(finished[0], workdir)


def test_trains_from_a_prepared_cache_without_tensorflow_tfds_and_clu(finished, photographs, tmp_path):
  """The packages are hidden from the process by modules that refuse to be imported."""
  hidden = tmp_path / "hidden"
  hidden.mkdir()
  for package in ("tensorflow", "tensorflow_datasets", "clu", "tensorboard"):
    (hidden / f"{package}.py").write_text(f"raise ImportError('no {package} here')\n")
  workdir = tmp_path / "run"
  result = run(f"--workdir={workdir}", path=photographs, env={"PYTHONPATH": str(hidden)})
  assert result.returncode == 0, result.stderr
  assert result.stderr.count("no TensorBoard events") == 1
  assert not list(workdir.glob("events.out.tfevents.*"))
  assert_same_run(finished[0], workdir)


def test_a_workdir_of_another_config_is_refused_with_the_fields(finished, photographs):
  workdir, _ = finished
  before = (workdir / "metrics.jsonl").read_bytes()
  flags = ["--config.optim.learning_rate=0.5", "--config.seed=3", "--config.eval.batch_size=7"]
  result = run(f"--workdir={workdir}", *flags, path=photographs)
  assert_one_line(result, "different config", "optim.learning_rate is 0.001 there, 0.5 here", "seed is 0 there, 3 here")
  assert "eval.batch_size" not in result.stderr
  assert (workdir / "metrics.jsonl").read_bytes() == before


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(finished, photographs, tmp_path):
  """From a healthy checkpoint at step 4, one poisoned parameter: the run stops before it saves again."""
  workdir = tmp_path / "run"
  shutil.copytree(finished[0], workdir)
  for step in (6, 8):
    shutil.rmtree(workdir / "checkpoints" / str(step))
  checkpointer = ocp.StandardCheckpointer()
  path = (workdir / "checkpoints" / "4" / "default").absolute()
  tree = checkpointer.restore(path)
  tree["critic_params"]["Dense_0"]["bias"] = np.array([np.nan], np.float32)
  checkpointer.save(path, tree, force=True)
  checkpointer.wait_until_finished()
  result = run(f"--workdir={workdir}", path=photographs)
  assert_one_line(result, "critic_loss", "not finite between steps 4 and 6", "last good checkpoint is step 4")
  assert sorted(p.name for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()) == ["4"]


def test_a_full_disk_keeps_the_last_good_checkpoint(finished, photographs, tmp_path):
  """A file-size limit stands in for the full disk: every larger write fails, as on one."""
  workdir = tmp_path / "run"
  shutil.copytree(finished[0], workdir)
  shutil.rmtree(workdir / "checkpoints" / "8")
  import resource

  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
  try:
    result = run(f"--workdir={workdir}", path=photographs)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, previous)
  assert_one_line(result, "cannot write", "last good checkpoint is step 6", "free some space")
  result = run(f"--workdir={workdir}", path=photographs)
  assert result.returncode == 0, result.stderr
  assert_same_run(finished[0], workdir)


def test_other_data_are_refused_and_the_same_data_elsewhere_go_on(finished, photographs, tmp_path):
  workdir, moved = tmp_path / "run", tmp_path / "moved"
  shutil.copytree(finished[0], workdir)
  shutil.rmtree(workdir / "checkpoints" / "8")
  shutil.copytree(photographs, moved, copy_function=shutil.copyfile)  # of another time as well
  (moved / "train" / "000.png").rename(tmp_path / "000.png")
  result = run(f"--workdir={workdir}", path=moved)
  assert_one_line(result, "on other data", "24 training and 8 validation images there, 23 and 8 here")
  (tmp_path / "000.png").rename(moved / "train" / "000.png")
  # A checkpoint that was damaged meanwhile is named, and training goes on from the one before it.
  damaged = next((workdir / "checkpoints" / "6" / "default" / "ocdbt.process_0" / "d").iterdir())
  content = bytearray(damaged.read_bytes())
  content[len(content) // 2] ^= 1
  damaged.write_bytes(content)
  result = run(f"--workdir={workdir}", path=f"{moved}/")
  assert result.returncode == 0, result.stderr
  assert f"{damaged.name} has changed" in result.stderr and "at step 4 of 8" in result.stderr
  assert_same_run(finished[0], workdir)


def test_a_wrong_command_corrected_works_and_two_at_once_do_not(photographs, tmp_path):
  """Wrong data, wrong fields, stopped while it compiles; then a second run of the workdir, then Ctrl-C twice."""
  workdir = tmp_path / "run"
  assert_one_line(run(f"--workdir={workdir}", path=tmp_path / "typo"), "does not exist")
  assert not workdir.exists()
  process = start(f"--workdir={workdir}", "--config.optim.learning_rate=0.5", path=photographs)
  wait_for(process, lambda: (workdir / "config.json").exists())
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=TIMEOUT)
  assert process.returncode in (EXIT_CODE, -signal.SIGTERM), output
  flags = ["--config.train.num_steps=1000000", "--config.train.checkpoint_every_steps=1000000"]
  process = start(f"--workdir={workdir}", *flags, path=photographs)
  wait_for(process, lambda: '"step": 3' in ((workdir / "metrics.jsonl").read_text() if process.poll() is None and
                                            (workdir / "metrics.jsonl").exists() else ""))
  second = run(f"--workdir={workdir}", *flags, path=photographs)
  assert_one_line(second, f"{workdir} is being written by process {process.pid} on ")
  os.kill(process.pid, signal.SIGSTOP)  # so that both arrive before its next step
  process.send_signal(signal.SIGINT)
  time.sleep(0.1)
  os.kill(process.pid, signal.SIGCONT)
  for line in process.stdout:
    if "Ctrl-C (again) leaves at once" in line:
      process.send_signal(signal.SIGINT)
      break
  output, _ = process.communicate(timeout=TIMEOUT)
  assert "Traceback" not in output
  assert process.returncode in (EXIT_CODE, INTERRUPTED), output
  assert json.loads((workdir / "config.json").read_text())["optim"]["learning_rate"] == 1e-3


def test_lines_after_the_checkpoint_are_dropped(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"step": 3, "a": 1}\n{"step": 6, "a": 2}\n{"step": 9, "a": 3}\n{"step": 1')
  keep_lines_until(path, 6)
  assert path.read_text() == '{"step": 3, "a": 1}\n{"step": 6, "a": 2}\n'
  keep_lines_until(tmp_path / "absent.jsonl", 6)
  assert not os.path.exists(tmp_path / "absent.jsonl")
