"""Fine-tuned pairs: the losses by hand, a run that is cut in two, the statistics by hand."""

import argparse
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from experiments import pair_training, pairs, pairs_report
from experiments.pair_training import Recipe
from prt_jax.errors import UserError
from prt_jax.restorers import Restorer
from prt_jax.restorers.bicubic import bicubic_upsample


def test_losses_by_hand():
  x_hat, x = jnp.array([0.5, 0.25]), jnp.array([0.25, 1.0])
  assert pair_training.l1_loss(x_hat, x) == pytest.approx(0.5)
  # softplus(-0) = log 2 and softplus(-log 3) = log(4 / 3); 10 times .5 of L1.
  value = pair_training.gan_loss(jnp.array([0.0, math.log(3)]), x_hat, x, 10)
  assert value == pytest.approx((math.log(2) + math.log(4 / 3)) / 2 + 5)


def test_the_critics_loss_by_hand():
  # C(x) = 2 sum(x) over 3 values has the gradient (2, 2, 2), whose square is 12.
  x, x_hat = jnp.array([[[[0.0, 0.0, 0.0]]]]), jnp.array([[[[math.log(3) / 2, 0.0, 0.0]]]])
  value = pair_training.critic_loss(lambda images: 2 * images.sum((1, 2, 3)), x, x_hat, 0.1)
  assert value == pytest.approx(math.log(2) + math.log(4) + 1.2)


class TinyCritic(nn.Module):
  width: int
  residual_scale: float
  kernel_init: str

  @nn.compact
  def __call__(self, x):
    return nn.Dense(1)(nn.tanh(nn.Conv(self.width, (4, 4), strides=4)(x)).mean((1, 2)))[:, 0]


def restorer():
  """Interpolation and one convolution, with a tensor that must stay as it is."""
  kernel = np.zeros((3, 3, 3, 3), np.float32)
  kernel[1, 1] = np.eye(3)
  params = {"weight": jnp.asarray(kernel), "bn.running_mean": jnp.full(3, 0.01)}

  def apply(params, y, z):
    x = bicubic_upsample(y, 4) + params["bn.running_mean"]
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, params["weight"], (1, 1), "SAME", dimension_numbers=dimensions)

  return Restorer("toy", apply, params)


PICTURES = [np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8) for size in ((64, 64, 3), (70, 80, 3))]


@pytest.mark.parametrize("loss", ["l1", "gan"])
def test_a_run_in_two_parts_ends_where_one_in_one_does(loss, tmp_path, monkeypatch):
  monkeypatch.setattr(pair_training, "Critic", TinyCritic)
  recipe = Recipe(loss, num_steps=4, batch_size=2, learning_rate=1e-2)
  whole = pair_training.fine_tune(restorer(), recipe, lambda: PICTURES, tmp_path / "whole", save_every=2)
  pair_training.fine_tune(restorer(), recipe, lambda: PICTURES, tmp_path / "parts", save_every=2, until=2)
  with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
    file.write('{"step": 4}\n')  # of a process that was killed before it saved
  parts = pair_training.fine_tune(restorer(), recipe, lambda: PICTURES, tmp_path / "parts", save_every=2)
  jax.tree.map(np.testing.assert_array_equal, parts, whole)
  assert np.abs(parts["weight"] - restorer().params["weight"]).max() > 1e-3
  np.testing.assert_array_equal(parts["bn.running_mean"], restorer().params["bn.running_mean"])
  steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
  assert steps == [2, 4]
  # Complete: nothing is read any more. Another recipe is another run.
  pair_training.fine_tune(restorer(), recipe, lambda: pytest.fail("read the pictures"), tmp_path / "parts")
  with pytest.raises(UserError, match=r"another recipe \(learning_rate\)"):
    pair_training.fine_tune(restorer(), recipe._replace(learning_rate=1.0), lambda: PICTURES, tmp_path / "parts")


def test_l1_training_lowers_l1(tmp_path):
  grey = [np.full((64, 64, 3), 128, np.uint8)]  # of which the network's shift of .01 is wrong
  recipe = Recipe("l1", num_steps=20, batch_size=2, learning_rate=1e-2)
  pair_training.fine_tune(restorer(), recipe, lambda: grey, tmp_path, save_every=5)
  values = [json.loads(line)["l1"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
  assert values[-1] < values[0] / 2


def test_batches_are_squares_of_the_pictures_and_their_reductions():
  ramp = np.broadcast_to(np.arange(80, dtype=np.uint8)[None, :, None], (70, 80, 3))
  x, y = pair_training.make_batch([ramp], Recipe("l1", 1, batch_size=16), 3)
  again, _ = pair_training.make_batch([ramp], Recipe("l1", 1, batch_size=16), 3)
  other, _ = pair_training.make_batch([ramp], Recipe("l1", 1, batch_size=16), 4)
  np.testing.assert_array_equal(x, again)
  assert x.shape == (16, 64, 64, 3) and y.shape == (16, 16, 16, 3) and np.any(x != other)
  slopes = np.round(255 * np.diff(x[:, 0, :, 0], axis=1))
  assert {-1.0, 1.0} == set(np.unique(slopes))  # mirrored and not
  picture = Image.fromarray(np.round(255 * x[0]).astype(np.uint8)).resize((16, 16), Image.Resampling.BICUBIC)
  np.testing.assert_allclose(255 * y[0], np.asarray(picture), atol=1e-3)


def test_small_pictures_are_left_out(tmp_path):
  Image.fromarray(PICTURES[1]).save(tmp_path / "a.png")
  Image.fromarray(PICTURES[0][:63]).save(tmp_path / "b.png")
  (found,) = pair_training.read_pictures(tmp_path)
  np.testing.assert_array_equal(found, PICTURES[1])
  (tmp_path / "a.png").unlink()
  with pytest.raises(UserError, match="no picture of 64x64"):
    pair_training.read_pictures(tmp_path)


def test_squares_of_a_picture():
  picture = np.arange(130 * 200 * 3).reshape(130, 200, 3)
  squares = pairs.cut(picture)
  assert squares.shape == (6, 64, 64, 3)
  np.testing.assert_array_equal(squares[4], picture[64:128, 64:128])


def test_features_are_of_the_whole_restoration(tmp_path):
  Image.fromarray(np.full((64, 130, 3), 51, np.uint8)).save(tmp_path / "a.png")
  Image.fromarray(np.full((64, 64, 3), 102, np.uint8)).save(tmp_path / "b.png")
  toy = Restorer("half", lambda params, y, z: 0.5 * y.repeat(4, 1).repeat(4, 2))
  found = pairs.square_features(toy, tmp_path, lambda images: images.mean((1, 2)))
  assert found["image"].tolist() == [0, 0, 1]
  np.testing.assert_allclose(found["original"][:, 0], [0.2, 0.2, 0.4], rtol=1e-4)
  np.testing.assert_allclose(found["measurement"][:, 0], [0.2, 0.2, 0.4], rtol=1e-4)
  np.testing.assert_allclose(found["restored"][:, 0], [0.1, 0.1, 0.2], rtol=1e-4)


def test_paired_statistics_by_hand():
  found = pairs_report.paired(np.array([3.0, 5.0, 1.0, 2.0]), np.array([2.0, 3.0, 2.0, 2.0]))
  assert found["value"] == 0.5 and found["above_0"] == 2
  assert found["sign_test_p"] == pytest.approx(1)  # 2 of 3, one being equal
  all_above = pairs_report.paired(np.arange(5) + 1.0, np.arange(5))
  assert all_above["sign_test_p"] == pytest.approx(2 / 32) and all_above["interval"] == [1, 1]


def test_the_jackknife_of_a_difference_by_hand():
  found = pairs_report.jackknife_difference(np.array([10.0, 9, 11, 10]), np.full(4, 8.0))
  # Without each group 1, 3, 2: the variance about their mean is 2/3, times 3 - 1.
  assert found["value"] == 2 and found["standard_error"] == pytest.approx(math.sqrt(4 / 3))
  assert found["interval"] == pytest.approx([2 - 2 * math.sqrt(4 / 3), 2 + 2 * math.sqrt(4 / 3)])


def test_the_joint_index_of_a_shift_is_its_length():
  rng = np.random.default_rng(0)
  original, measurement = rng.normal(size=(50, 4)), rng.normal(size=(50, 3))
  assert pairs_report.index(original, measurement, original) == pytest.approx(0, abs=1e-6)
  assert pairs_report.index(original, measurement, original + 3) == pytest.approx(6)
  # Groups are left out by their picture: without the second nothing is wrong.
  features = {"original": original, "measurement": measurement, "image": np.repeat([7, 9], 25)}
  features["restored"] = original + np.where(features["image"] == 9, 2.0, 0.0)[:, None]
  found = pairs_report.jackknife(features, [np.array([7]), np.array([9])])
  assert found[1] == pytest.approx(4) and found[2] == pytest.approx(0, abs=1e-6)


def line(network, image, alpha=1, **changed):
  return {
    "network": network, "image": image, "alpha_255": alpha, "crop": 96, "psnr_y_db": 30.0, "consistency_db": 50.0,
    "output_psnr_db": 36.0, "strong_output_psnr_db": 35.0, "lipschitz": 7.0, "strong_lipschitz": 8.0,
    "lipschitz_from_jacobian": 9.0, **changed,
  }  # fmt: skip


def test_only_complete_pictures_are_compared_and_k_is_the_largest():
  lines = [line(network, image) for network in pairs.NETWORKS for image in "ab"]
  assert pairs.complete_images(lines, 1) == ["a", "b"]
  assert pairs.complete_images([*lines[:-1], line("imdn_gan", "b", 8)], 1) == ["a"]
  steep = [own | {"strong_lipschitz": 12.0} if own["network"] == "srgan_gan" else own for own in lines]
  found = pairs_report.summarise(steep)
  assert found["networks"]["srgan_gan"]["K"]["value"] == 12 and found["networks"]["srgan"]["K"]["value"] == 9
  assert found["differences"]["srgan_gan - srgan_l1"]["K"]["value"] == 3
  assert found["differences"]["imdn_gan - imdn_l1"]["K"]["above_0"] == 0


def test_report(tmp_path, capsys):
  rng = np.random.default_rng(0)
  for name in pairs.TRAINED:
    folder = tmp_path / "training" / name
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({"loss": name[-2:]}))
    (folder / "metrics.jsonl").write_text('{"step": 2}\n')
  (tmp_path / "attacks" / "Set5").mkdir(parents=True)
  lines = [line(network, image) for network in pairs.NETWORKS for image in "ab"]
  (tmp_path / "attacks" / "Set5" / "measurements.jsonl").write_text("".join(json.dumps(own) + "\n" for own in lines))
  (tmp_path / "features").mkdir()
  common = {name: rng.normal(size=(40, 3)) for name in ("original", "measurement")} | {"image": np.arange(40) // 2}
  for number, name in enumerate(pairs.NETWORKS):
    np.savez(tmp_path / "features" / f"{name}.npz", **common, restored=common["original"] + number)
  arguments = argparse.Namespace(
    workdir=tmp_path, images=tmp_path / "photographs", held_out=[tmp_path / "Set5"], joint_images=tmp_path / "B",
    alphas=(1, 8), crop=96, out=tmp_path / "out",
  )  # fmt: skip
  pairs_report.report(arguments, 1.0)
  written = json.loads((tmp_path / "out" / "pairs.json").read_text())
  assert written["bounds"].keys() == {"1"} and written["protocol"]["trained_on"] == "photographs"
  assert written["joint"]["networks"]["srgan_gan"]["value"] == pytest.approx(math.sqrt(12))
  assert written["joint"]["differences"]["srgan_gan - srgan"]["value"] == pytest.approx(math.sqrt(12))
  assert (tmp_path / "out" / "pairs.png").exists() and "srgan_gan - srgan_l1" in capsys.readouterr().out
