"""Evaluation: the same numbers however it is batched, spread and interrupted; what is missing is said."""

import concurrent.futures
import json
import shutil
import threading
import time
import types
import urllib.request

import jax
import numpy as np
import pytest

from prt_jax import evaluate
from prt_jax.data import prepare
from prt_jax.errors import UserError
from prt_jax.evaluation import distributions
from prt_jax.evaluation.store import Columns
from prt_jax.features import Extractor
from prt_jax.features.squeezenet import load_squeezenet
from prt_jax.metrics import density_coverage, frechet_distance, lpips_style_distance, precision_recall
from prt_jax.restorers.by_name import load_restorer
from prt_jax.restorers.from_run import load_run
from prt_jax.training.checkpoints import Checkpoints, claim_workdir
from prt_jax.training.gan import init_state, make_game
from prt_jax.training.trained_estimator import run_restorer
from tests import tiny
from tests.commands import run
from tests.conftest import CACHE
from tests.examples import run_example
from tests.features.test_squeezenet import random_arrays

EVAL = {
  "num_examples": 8, "feature_extractor": "pixels", "num_std_seeds": 3, "strong_num_examples": 5,
  "strong_num_steps": 3, "strong_num_restarts": 1, "curve_num_examples": 4, "curve_alphas": (8.0,),
  "curve_num_steps": 2, "num_jacobian_steps": 1,
}


def make_config(photographs, **fields):
  config = tiny.get_config()
  config.unlock()
  config.data.update(path=str(photographs), cache_dir=str(CACHE))
  config.eval.update(**EVAL, batch_size=16)
  config.eval.update(**fields)
  return config


@pytest.fixture(scope="module")
def workdir(photographs, tmp_path_factory):
  """A workdir whose checkpoint, of step 8, holds the initial networks: what is measured need not be good."""
  folder = tmp_path_factory.mktemp("run") / "run"
  config = make_config(photographs)
  claim_workdir(folder, config)
  checkpoints = Checkpoints(folder, 3)
  checkpoints.save(init_state(make_game(config)).replace(step=np.int32(8)))
  checkpoints.close()
  return folder


@pytest.fixture(scope="module")
def evaluated(photographs, workdir):
  """Its evaluation on four devices, in one padded batch of 16."""
  return evaluate.evaluate(make_config(photographs), workdir)


def test_the_examples_of_a_run_give_what_they_say(photographs, workdir, evaluated):
  run_example(evaluate.evaluate, config=make_config(photographs), workdir=workdir)
  run_example(load_run, workdir=workdir)
  run_example(load_restorer, workdir=str(workdir))


@pytest.fixture
def fresh(workdir, evaluated, tmp_path):
  """A copy of the workdir without its evaluation."""
  shutil.copytree(workdir, tmp_path / "run")
  shutil.rmtree(tmp_path / "run" / "eval")
  return tmp_path / "run"


def assert_same_results(ours, theirs):
  """Equal to 1e-5 of each result's value: its spread and interval too, which may be far smaller."""
  assert ours.keys() == theirs.keys()
  for name, result in ours.items():
    assert result.keys() == theirs[name].keys()
    tolerance = 1e-5 * abs(result["value"]) + 1e-7
    for part in result.keys() - {"label", "interval_kind"}:
      np.testing.assert_allclose(theirs[name][part], result[part], rtol=0, atol=tolerance, err_msg=f"{name} {part}")


def test_the_report_holds_every_result_with_its_n_and_its_context(evaluated, workdir):
  saved = json.loads((workdir / "eval" / "8" / "report.json").read_text())
  assert saved == json.loads(json.dumps(evaluated))
  plain = {
    "frechet", "frechet_of_originals", "precision", "recall", "density", "coverage", "kernel_distance",
    "sqrt_joint_frechet", "per_pixel_std", "seed_diversity", "random_robustness_db", "beats_random", "consistency_db",
    "consistency_over_z_db", "consistency_max_error", "psnr_db", "psnr_y_db", "ssim", "restored_minimum",
    "restored_maximum", *(f"lipschitz_from_jacobian_{name}" for name in ("median", "p95", "max")),
  }
  attacked = {"robustness_db", "output_psnr_db", "ai_psnr_db", "input_psnr_db"}
  attacked |= {"fresh_robustness_db", "w1", "w1_coupled"}
  attacked |= {f"lipschitz{worst}_{name}" for worst in ("", "_worst_draw") for name in ("median", "p95", "max")}
  strong = {f"strong_{name}" for name in attacked}
  assert saved["results"].keys() == plain | attacked | strong == saved["definitions"].keys()
  counts = {name: 5 if name in strong else 4 if "jacobian" in name else 8 for name in saved["results"]}
  assert {name: result["n"] for name, result in saved["results"].items()} == counts
  (point,), (stronger,) = saved["curves"]["ifgsm"], saved["curves"]["strong_sup"]
  assert point["alpha"] == 8 / 255 and point["results"]["output_psnr_db"]["n"] == 4
  assert point["results"].keys() == attacked
  assert stronger["results"].keys() == attacked | {"late_gain_db"}
  assert saved["results"]["recall"]["n"] == 8  # as many training images as inputs
  assert saved["results"]["frechet"]["label"] == "Frechet distance, pixels (16x16 means)"
  assert saved["step"] == 8 and saved["variant"] == "stochastic-robust"
  assert saved["config"]["attack"]["eps"] == 0.1 and saved["versions"]["jax"] == jax.__version__
  assert saved["seconds"]["total"] >= saved["seconds"]["model"] > 0


def test_values_are_what_the_examples_say(evaluated, workdir):
  examples = np.load(workdir / "eval" / "8" / "examples.npz")
  results = evaluated["results"]
  assert results["robustness_db"]["value"] == pytest.approx(examples["robustness_db"].mean(), rel=1e-6)
  assert results["lipschitz_max"]["value"] == pytest.approx(examples["lipschitz"].max(), rel=1e-6)
  assert results["lipschitz_median"]["value"] == pytest.approx(np.median(examples["lipschitz"]), rel=1e-6)
  assert sorted(examples["row"]) == list(range(8))  # distinct inputs
  # The radius over 2 x 2 x 3 measured values, when the attack ends on the sphere.
  assert examples["ai_psnr_db"].min() >= -10 * np.log10(0.1**2 / 12) - 1e-3
  assert (examples["consistency_max_error"] < 1e-6).all()


def test_the_lpips_style_distance_is_that_of_the_first_draw_to_its_original(evaluated, workdir, photographs, tmp_path):
  """By hand on the same pairs, with random weights; what the first evaluation measured is taken from there."""
  shutil.copytree(workdir, tmp_path / "run")
  np.savez(tmp_path / "squeezenet.npz", **random_arrays())
  config = make_config(photographs, lpips_weights=str(tmp_path / "squeezenet.npz"))
  report = evaluate.evaluate(config, tmp_path / "run")
  examples = np.load(tmp_path / "run" / "eval" / "8" / "examples.npz")
  run, rows = load_run(tmp_path / "run"), examples["row"]
  x = np.asarray(prepare(config.data).val[rows], np.float32) / 255
  restorer = run_restorer(run.game, run.weights, "run")
  y = restorer.measure(x, rows, 0)
  restored = restorer.restore(y, jax.tree.map(lambda leaf: leaf[0], restorer.draws(rows, [0], y.shape[1:])))
  distances = lpips_style_distance(load_squeezenet(config.eval.lpips_weights), np.clip(restored, 0, 1), x)
  np.testing.assert_allclose(examples["lpips_style"], distances, rtol=1e-4)
  assert np.std(distances) > 1e-3 * np.mean(distances)
  assert report["results"]["lpips_style"]["value"] == pytest.approx(float(np.mean(distances)), rel=1e-4)


def test_the_stronger_attack_is_at_least_as_strong_on_every_example(evaluated, workdir):
  examples = np.load(workdir / "eval" / "8" / "examples.npz")
  weak = examples["lipschitz"][:5] * 10 ** (-examples["ai_psnr_db"][:5] / 20)  # K ||delta||, up to a constant
  strong = examples["strong_lipschitz"] * 10 ** (-examples["strong_ai_psnr_db"] / 20)
  assert (strong >= weak * (1 - 1e-5)).all()
  assert (strong > weak * 1.001).any()


def test_seven_on_one_device_and_sixteen_on_four_give_the_same_report(evaluated, fresh, photographs):
  assert jax.device_count() == 4
  flags = [f"--config.eval.{name}={value}" for name, value in EVAL.items()]
  result = run(f"--workdir={fresh}", "--mode=eval", "--config.eval.batch_size=7", *flags, path=photographs)
  assert result.returncode == 0, result.stderr
  assert_same_results(evaluated["results"], json.loads((fresh / "eval" / "8" / "report.json").read_text())["results"])


def test_a_killed_pass_goes_on_where_it_was(evaluated, fresh, photographs, monkeypatch):
  append, seen = Columns.append, []

  def append_some(columns, rows):
    if len(seen) == 3:
      raise KeyboardInterrupt
    seen.append(columns.done)
    append(columns, rows)

  config = make_config(photographs, batch_size=4)
  monkeypatch.setattr(Columns, "append", append_some)
  with pytest.raises(KeyboardInterrupt):
    evaluate.evaluate(config, fresh)

  def append_and_note(columns, rows):
    seen.append(columns.done)
    append(columns, rows)

  monkeypatch.setattr(Columns, "append", append_and_note)
  resumed = evaluate.evaluate(config, fresh)
  # Of eight parts, three of them of the first inputs alone, three had their first batch. The reference was cached.
  assert sorted(seen) == [0] * 8 + [4] * 5
  assert_same_results(evaluated["results"], resumed["results"])


def test_what_is_asked_for_again_costs_only_what_is_new(evaluated, fresh, photographs, monkeypatch, tmp_path):
  """Another k, more of the stronger attack, the same weights elsewhere, another folder: nothing old is measured."""
  evaluate.evaluate(make_config(photographs), fresh)
  append, seen = Columns.append, []

  def append_and_note(columns, rows):
    seen.append((columns.done, sorted(rows)[0]))
    append(columns, rows)

  monkeypatch.setattr(Columns, "append", append_and_note)
  other = evaluate.evaluate(make_config(photographs, num_neighbors=2), fresh)
  assert seen == []
  assert other["protocol"]["eval"]["num_neighbors"] == 2
  assert other["results"]["lipschitz_max"] == evaluated["results"]["lipschitz_max"]
  more = evaluate.evaluate(make_config(photographs, strong_num_examples=8), fresh)
  assert seen == [(5, "ai_psnr_db")]
  assert more["results"]["strong_robustness_db"]["n"] == 8
  seen.clear()
  evaluate.evaluate(make_config(photographs, strong_num_examples=0), fresh, into="eval-other")
  assert seen == []


def test_an_evaluation_killed_before_its_line_writes_it_at_the_next_start(evaluated, fresh, photographs, monkeypatch):
  class Killed(BaseException):
    pass

  def killed(*_):
    raise Killed

  (fresh / "metrics.jsonl").unlink()  # the copied run's
  with monkeypatch.context() as patch:
    patch.setattr(evaluate, "write_evaluation", killed)
    with pytest.raises(Killed):
      evaluate.evaluate(make_config(photographs), fresh)
  assert (fresh / "eval" / "8" / "report.json").exists()
  evaluate.evaluate(make_config(photographs), fresh)
  evaluate.evaluate(make_config(photographs), fresh)
  (line,) = [json.loads(line) for line in (fresh / "metrics.jsonl").read_text().splitlines()]
  assert line["eval/robustness_db"] == pytest.approx(evaluated["results"]["robustness_db"]["value"], rel=1e-5)


def test_evaluated_again_it_says_so_and_measures_nothing(evaluated, workdir, photographs, monkeypatch):
  monkeypatch.setattr(evaluate.measured_parts, "fill", lambda *_: pytest.fail("measured again"))
  assert evaluate.evaluate(make_config(photographs), workdir) == evaluated


def test_metrics_jsonl_has_one_evaluation_a_step(evaluated, workdir):
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  assert len(lines) == 1 and lines[0]["step"] == 8
  assert lines[0]["eval/robustness_db"] == evaluated["results"]["robustness_db"]["value"]


def test_features_are_those_of_the_named_restorations_and_training_images():
  """The results are metrics of what distributions.compare is given, the right way round."""
  rng = np.random.default_rng(0)
  real, fake = rng.normal(size=(40, 3)), 0.2 * rng.normal(size=(30, 3))
  extractor = Extractor("tests'", "name", 2, {}, None)
  results = distributions.compare(distributions.Sets(fake, real, real), 3, extractor)
  precision, recall = precision_recall(real, fake, k=3)
  assert precision != recall
  assert (results["precision"]["value"], results["recall"]["value"]) == (precision, recall)
  assert (results["density"]["value"], results["coverage"]["value"]) == density_coverage(real, fake, k=3)
  assert (results["precision"]["n"], results["recall"]["n"], results["coverage"]["n"]) == (30, 40, 40)
  assert results["frechet"]["value"] == pytest.approx(frechet_distance(fake, real), rel=1e-9)
  assert results["frechet_of_originals"]["value"] == pytest.approx(0, abs=1e-9)
  y = rng.normal(size=(30, 2))
  x = fake + 0.1
  joint = distributions.compare(distributions.Sets(fake, real, x, y), 3, extractor)["sqrt_joint_frechet"]
  assert joint["value"] == pytest.approx(3**0.5 * 0.1, rel=1e-6)  # the same but for a shift


def test_without_inception_weights_and_network_every_other_number_is_there(evaluated, fresh, photographs, monkeypatch):
  def no_network(*_, **__):
    raise OSError("no network")

  monkeypatch.setattr(urllib.request, "urlopen", no_network)
  report = evaluate.evaluate(make_config(photographs, feature_extractor="inception"), fresh)
  features = set(distributions.SETS)
  assert report["results"].keys() == evaluated["results"].keys() - features
  (line,) = [line for line in report["missing"] if "Frechet" in line]
  assert "\n" not in line and "eval.feature_weights" in line and "download" in line


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"num_examples": 9}, "eval.num_examples=9, but .* 8 validation images"),
    ({"num_examples": 3, "strong_num_examples": 0}, "eval.num_neighbors=3 .*: raise it"),
    ({"step": 5}, "eval.step=5: .* holds steps 8"),
    ({"feature_extractor": "inception", "feature_weights": "/nowhere.pth"}, "/nowhere.pth"),
    ({"num_std_seeds": 1}, "eval.num_std_seeds=1"),
    ({"strong_num_examples": -1}, "eval.strong_num_examples=-1: it must be 0 or more"),
    ({"batch_size": 7}, "eval.batch_size=7 does not divide over 4 devices"),
  ],
)
def test_bad_fields_are_one_line(fields, message, fresh, photographs):
  with pytest.raises(UserError, match=message) as error:
    evaluate.evaluate(make_config(photographs, **fields), fresh)
  assert "\n" not in str(error.value)


def test_no_run_and_no_checkpoint(fresh, photographs, tmp_path):
  with pytest.raises(UserError, match=r"no run in .*--mode=train"):
    evaluate.evaluate(make_config(photographs), tmp_path / "nowhere")
  shutil.rmtree(fresh / "checkpoints")
  with pytest.raises(UserError, match=r"no checkpoint in .*--mode=train"):
    evaluate.evaluate(make_config(photographs), fresh)


def test_the_protocol_holds_what_changes_a_value_and_nothing_else():
  def protocol(name, value):
    config = tiny.get_config()
    config.attack[name] = value
    return evaluate.make_protocol(config, types.SimpleNamespace(fingerprint="faces"), {}, None, None)

  for name, value in tiny.get_config().attack.items():
    other = "frozen" if name == "batch_norm" else value + 1
    assert (protocol(name, other) != protocol(name, value)) == (name not in ("seeds_at_once", "batch_norm")), name

  def of_evaluation(name, value):
    config = tiny.get_config()
    with config.unlocked():
      config.eval[name] = value
    return evaluate.make_protocol(config, types.SimpleNamespace(fingerprint="faces"), {}, None, None)

  for name, value in tiny.get_config().eval.items():
    other = "other" if isinstance(value, str) else (7.0,) if isinstance(value, tuple) else value + 1
    changes = name not in (
      "batch_size", "step", "feature_weights", "lpips_weights", "every_steps", "watch_examples", "best_by"
    )  # fmt: skip
    assert (of_evaluation(name, other) != of_evaluation(name, value)) == changes, name
  datasets = [types.SimpleNamespace(fingerprint=name) for name in "ab"]
  first, second = (evaluate.make_protocol(tiny.get_config(), dataset, {}, None, None) for dataset in datasets)
  assert first != second
  weights = [evaluate.make_protocol(tiny.get_config(), datasets[0], {"w": np.ones(n)}, None, None) for n in (1, 2)]
  assert weights[0] != weights[1]


def test_two_evaluations_side_by_side_share_one_reference(photographs, tmp_path, monkeypatch):
  """The second waits for the first, and finds all that it has measured."""
  config = make_config(photographs, batch_size=8)
  config.data.cache_dir = str(tmp_path)
  images = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 3), dtype=np.uint8)
  dataset = types.SimpleNamespace(train=images, fingerprint="two")
  extractor = types.SimpleNamespace(name="pixels", dimension=48, params=(), version="")
  runner = types.SimpleNamespace(split=lambda images: images)
  started, batches = threading.Event(), []

  def features(batch):
    batches.append(len(batch))
    started.set()
    time.sleep(0.2)
    return np.float32(255 * batch.reshape(len(batch), -1))

  monkeypatch.setattr(evaluate, "make_features", lambda *_: features)

  def reference():
    return evaluate.reference_features(runner, config, dataset, extractor, {})

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    first = pool.submit(reference)
    assert started.wait(10)
    second = pool.submit(reference)
    np.testing.assert_array_equal(first.result(), second.result())
  assert len(batches) == 1
  assert {tuple(row) for row in first.result().round()} <= {tuple(image.ravel()) for image in images.astype(np.float32)}
