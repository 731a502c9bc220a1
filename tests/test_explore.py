"""The exploration's command: a contact sheet and a record an image, for deterministic and stochastic restorers."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from prt_jax import explore
from prt_jax.data.image_pairs import Pair
from prt_jax.errors import UserError
from prt_jax.restorers import Restorer, as_restorer


@pytest.fixture(scope="module")
def images(tmp_path_factory):
  folder = tmp_path_factory.mktemp("images")
  rng = np.random.default_rng(0)
  Image.fromarray(rng.integers(60, 200, (64, 64, 3), dtype=np.uint8)).save(folder / "one.png")
  return folder


def test_the_command_writes_a_sheet_and_a_record(images, tmp_path, capsys):
  explore.main([
    "--restorer=bicubic", f"--input={images}", f"--output={tmp_path}", "--num_outputs=3", "--num_steps=4",
  ])
  (record,) = json.loads((tmp_path / "explore.json").read_text())["images"]
  assert record["name"] == "one"
  assert record["input_psnr_db"][0] is None
  assert min(record["input_psnr_db"][1:]) > 29.99
  assert len(record["consistency_db"]) == 3
  assert record["consistency_db"][0] > max(record["consistency_db"][1:])  # the unperturbed one agrees best
  assert set(record["distances"]) == {"explored", "random"}
  assert record["explored_over_random"] < 5  # interpolation is robust
  sheet = Image.open(tmp_path / "one.png")
  assert sheet.width > sheet.height  # three columns, two rows
  assert "explored over random" in capsys.readouterr().out


def test_a_stochastic_restorer_is_compared_with_its_own_draws():
  def draw_noise(keys, shape, num_seeds):
    return jax.vmap(lambda key: 0.2 * jax.random.normal(key, (num_seeds, *shape)), out_axes=1)(keys)

  y = np.full((16, 16, 3), 0.5, np.float32)
  restorer = Restorer("noise", lambda params, y, z: y + z, (), draw_noise)
  record, rows = explore.explore_image(
    restorer, Pair("p", None, y), jax.random.key(0), num_outputs=6, min_input_psnr=30.0, num_steps=3
  )
  # Two draws of standard deviation .2 are .2 * sqrt(2) apart, a little less after clipping.
  assert record["distances"]["draws of Z"]["mean"] == pytest.approx(0.28, rel=0.05)
  # The draws differ, exploration keeps one of them: it moves by its perturbation alone.
  assert record["distances"]["explored"]["mean"] < 0.1
  assert record["consistency_db"] is None
  assert {title: row.shape for title, row in rows.items()} == dict.fromkeys(
    ("explored", "random", "draws of Z"), (6, 16, 16, 3)
  )
  assert explore.contact_sheet(rows).dtype == np.uint8


def test_the_sheet_shows_where_outputs_differ():
  found = np.zeros((2, 400, 300, 3), np.float32)
  found[1, 350:, :40] = 1
  sheet = explore.contact_sheet({"explored": found, "random": 0 * found})
  assert (sheet[:, -explore.WINDOW :] == 255).mean() > 0.01  # white pixels of the second output


def test_two_outputs_are_the_least(images, tmp_path):
  with pytest.raises(UserError, match="at least 2"):
    explore.main(["--restorer=bicubic", f"--input={images}", f"--output={tmp_path}", "--num_outputs=1"])


def test_a_restoration_of_another_size_is_one_clear_line():
  pair = Pair("p", np.zeros((64, 64, 3), np.float32), np.zeros((16, 16, 3), np.float32))
  with pytest.raises(UserError, match="the restoration has shape"):
    explore.explore_image(
      as_restorer(lambda y: y), pair, jax.random.key(0), num_outputs=2, min_input_psnr=30.0, num_steps=1
    )


def test_restorers_of_the_audit_are_those_of_the_exploration(images, tmp_path):
  with pytest.raises(UserError, match="--checkpoint=FILE"):
    explore.main(["--restorer=imdn", f"--input={images}", f"--output={tmp_path}"])


def test_noise_of_its_own_is_refused():
  def restore(y):
    return y + np.random.default_rng().normal(size=y.shape)

  with pytest.raises(UserError, match="different outputs for one input"):
    explore.explore_image(
      as_restorer(restore), Pair("p", None, np.zeros((8, 8, 3), np.float32)), jax.random.key(0),
      num_outputs=2, min_input_psnr=30.0, num_steps=1,
    )
