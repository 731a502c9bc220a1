"""The audit and the evaluation of one run on the same images agree number for number."""

import json

import jax
import numpy as np
import pytest

from prt_jax import evaluate
from prt_jax.audit import command_line
from prt_jax.training.checkpoints import Checkpoints, claim_workdir
from prt_jax.training.gan import init_state, make_game
from tests import tiny
from tests.conftest import CACHE
from tests.features.test_squeezenet import random_arrays


@pytest.fixture(scope="module")
def both(photographs, tmp_path_factory):
  """(the evaluation's report, its examples, the audit's report) of an untrained stochastic net on the same 8 images.

  By the commands as users give them: an audit without --input.
  """
  workdir = tmp_path_factory.mktemp("agreement") / "run"
  config = tiny.get_config()
  config.unlock()
  config.data.update(path=str(photographs), cache_dir=str(CACHE))
  config.degradation.noise_std = 0.02
  config.eval.update(
    num_examples=8, batch_size=jax.device_count(), feature_extractor="squeezenet", num_std_seeds=3,
    feature_weights=str(workdir.parent / "squeezenet.npz"),
    strong_num_examples=5, strong_num_steps=2, strong_num_restarts=1, curve_num_examples=8, curve_alphas=(4.0,),
    curve_num_steps=2, num_jacobian_steps=1,
  )
  np.savez(config.eval.feature_weights, **random_arrays())
  claim_workdir(workdir, config)
  checkpoints = Checkpoints(workdir, 1)
  checkpoints.save(init_state(make_game(config)).replace(step=np.int32(8)))
  checkpoints.close()
  report = evaluate.evaluate(config, workdir)
  output = workdir.parent / "audit"
  command_line.main([f"--restorer={workdir}", f"--output={output}", "--min_images=8"])
  examples = dict(np.load(workdir / "eval" / "8" / "examples.npz"))
  return report, examples, json.loads((output / "report.json").read_text())


def test_every_result_of_both_is_the_same(both):
  evaluation, _, audit = both
  ours, theirs = evaluation["results"], audit["results"]
  assert ours.keys() == theirs.keys()
  assert {"robustness_db", "output_psnr_db", "lipschitz_max", "lipschitz_worst_draw_max", "consistency_db", "psnr_y_db",
          "per_pixel_std", "lpips_style", "frechet", "recall", "coverage", "density", "sqrt_joint_frechet",
          "lipschitz_from_jacobian_max", "residual_over_noise", "strong_robustness_db"} <= ours.keys()
  assert ours["strong_robustness_db"]["n"] == 5
  for name, result in ours.items():
    assert result["value"] == pytest.approx(theirs[name]["value"], rel=1e-6, abs=1e-9), name
    assert result["n"] == theirs[name]["n"]


def test_every_image_has_the_same_numbers(both):
  evaluation, examples, audit = both
  assert [image["name"] for image in audit["images"]] == [f"row {row}" for row in examples["row"]]
  assert examples["row"].tolist() != sorted(examples["row"])  # its numbers are not its places
  for name, values in examples.items():
    if name in ("row", "change", "random_change") or (name.startswith(("random_", "strong_")) and "sup" not in name):
      continue
    attack, _, measure = name.partition("_4_")
    field = {"ifgsm": "robustness", "strong_sup": "robustness_strong"}.get(attack)
    if field:
      theirs = [image[field][0][measure] for image in audit["images"]]
    elif name in ("restored_minimum", "restored_maximum"):
      theirs = [image["restored_range"][name == "restored_maximum"] for image in audit["images"]]
    elif name in audit["images"][0]:
      theirs = [image[name] for image in audit["images"]]
    else:
      continue
    np.testing.assert_allclose(theirs, values, rtol=1e-6, atol=1e-9, err_msg=name)
  points = evaluation["curves"]["ifgsm"], audit["curves"]["ifgsm"]
  for ours, theirs in zip(*points, strict=True):
    assert ours["results"]["output_psnr_db"]["value"] == pytest.approx(theirs["results"]["output_psnr_db"]["value"])


def test_two_definitions_have_two_names(both):
  """K over draws is at most K of the worst draw, and differs; so do the clipped and the unclipped robustness."""
  _, examples, audit = both
  over_draws, worst = examples["lipschitz"], examples["lipschitz_worst_draw"]
  assert (over_draws < worst).all()
  assert (examples["ifgsm_4_robustness_db"] != examples["ifgsm_4_output_psnr_db"]).any()
  assert audit["lipschitz_lower_bound"] >= audit["results"]["lipschitz_worst_draw_max"]["value"]
