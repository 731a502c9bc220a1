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
from prt_jax.checkpoints import Checkpoints, claim_workdir
from prt_jax.errors import UserError
from prt_jax.game import init_state, make_game
from prt_jax.metrics import frechet_distance, precision_recall
from prt_jax.store import Columns
from tests import tiny
from tests.commands import run
from tests.conftest import CACHE

EVAL = {
  "num_examples": 8, "feature_extractor": "pixels", "num_std_seeds": 3, "strong_num_examples": 5,
  "strong_num_steps": 3, "strong_num_restarts": 1,
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
    "frechet", "frechet_of_originals", "precision", "recall", "per_pixel_std", "seed_diversity", "robustness_db",
    "ai_psnr_db", "random_robustness_db", "beats_random", "consistency_db", "consistency_max_error", "psnr_db", "ssim",
  }
  lipschitz = {f"lipschitz_{name}" for name in ("median", "p95", "max")}
  strong = {f"strong_{name}" for name in lipschitz | {"robustness_db", "ai_psnr_db"}}
  assert saved["results"].keys() == plain | lipschitz | strong
  assert all(result["n"] == (5 if name.startswith("strong") else 8) for name, result in saved["results"].items()
             if name != "recall")
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
  write, seen = Columns.write, []

  def write_once(store, values):
    if seen:
      raise KeyboardInterrupt
    seen.append(store.done)
    write(store, values)

  config = make_config(photographs, batch_size=4)
  monkeypatch.setattr(Columns, "write", write_once)
  with pytest.raises(KeyboardInterrupt):
    evaluate.evaluate(config, fresh)

  def write_and_note(store, values):
    seen.append(store.done)
    write(store, values)

  monkeypatch.setattr(Columns, "write", write_and_note)
  resumed = evaluate.evaluate(config, fresh)
  # Rows 0 to 3 were not measured again; then the stronger attack's five inputs. The reference was cached.
  assert seen == [0, 4, 0, 4]
  assert_same_results(evaluated["results"], resumed["results"])
  assert not list((fresh / "eval" / "8").glob("partial*"))


def test_evaluated_again_it_says_so_and_measures_nothing(evaluated, workdir, photographs, monkeypatch):
  monkeypatch.setattr(evaluate, "run_pass", lambda *_: pytest.fail("measured again"))
  assert evaluate.evaluate(make_config(photographs), workdir) == evaluated


def test_metrics_jsonl_has_one_evaluation_a_step(evaluated, workdir):
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  assert len(lines) == 1 and lines[0]["step"] == 8
  assert lines[0]["eval/robustness_db"] == evaluated["results"]["robustness_db"]["value"]


def test_features_are_those_of_the_named_restorations_and_training_images(evaluated):
  """The results are precision_recall and frechet_distance of what compare_features is given, the right way round."""
  rng = np.random.default_rng(0)
  real, fake = rng.normal(size=(40, 3)), 0.2 * rng.normal(size=(30, 3))

  class Named:
    distance_name = "name"

  results = evaluate.compare_features({"features": fake, "original_features": real}, real, Named, 3)
  precision, recall = precision_recall(real, fake, k=3)
  assert precision != recall
  assert (results["precision"]["value"], results["recall"]["value"]) == (precision, recall)
  assert (results["precision"]["n"], results["recall"]["n"]) == (30, 40)
  assert results["frechet"]["value"] == pytest.approx(frechet_distance(fake, real), rel=1e-9)
  assert results["frechet_of_originals"]["value"] == pytest.approx(0, abs=1e-9)


def test_without_inception_weights_and_network_every_other_number_is_there(evaluated, fresh, photographs, monkeypatch):
  def no_network(*_, **__):
    raise OSError("no network")

  monkeypatch.setattr(urllib.request, "urlopen", no_network)
  report = evaluate.evaluate(make_config(photographs, feature_extractor="inception"), fresh)
  features = {"frechet", "frechet_of_originals", "precision", "recall"}
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

  assert protocol("seeds_at_once", 1) == protocol("seeds_at_once", 2)
  assert protocol("num_steps", 1) != protocol("num_steps", 2)


def test_two_evaluations_side_by_side_share_one_reference(photographs, tmp_path, monkeypatch):
  """The second waits for the first; without that it would start over in files that the first still writes."""
  config = make_config(photographs, batch_size=8)
  config.data.cache_dir = str(tmp_path)
  images = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 3), dtype=np.uint8)
  dataset = types.SimpleNamespace(train=images, fingerprint="two")
  extractor = types.SimpleNamespace(name="pixels", dimension=48, params=())
  started, batches = threading.Event(), []

  def features(batch):
    batches.append(len(batch))
    started.set()
    time.sleep(0.2)
    return batch.reshape(*batch.shape[:2], -1).astype(np.float32)

  monkeypatch.setattr(evaluate, "make_features", lambda _: features)

  def reference():
    return np.array(evaluate.reference_features(config, dataset, extractor, {}))

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    first = pool.submit(reference)
    assert started.wait(10)
    second = pool.submit(reference)
    np.testing.assert_array_equal(first.result(), second.result())
  assert len(batches) == 1
  assert {tuple(row) for row in first.result()} <= {tuple(image.ravel()) for image in images.astype(np.float32)}
