"""Networks of inpainting by spandrel: they fill what --mask marks, from what it leaves, and from nothing else."""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from prt_jax import explore, restore
from prt_jax.audit import command_line
from prt_jax.errors import UserError

torch = pytest.importorskip("torch", reason="spandrel needs PyTorch: pip install -r requirements-test.txt")

from prt_jax.restorers.spandrel_networks import import_spandrel, load_spandrel  # noqa: E402

spandrel = import_spandrel()
from spandrel.architectures.Compact import Compact  # noqa: E402
from spandrel.architectures.LaMa import LaMa  # noqa: E402

HEIGHT, WIDTH = 18, 21  # which LaMa's 8 does not divide


@pytest.fixture
def lama(tmp_path, monkeypatch):
  """A file of a LaMa with random weights, which spandrel recognises: of 1 block instead of 18, and 8 channels of 64."""
  module = sys.modules[LaMa.__module__]
  small = functools.partial(module.FFCResNetGenerator, ngf=8, n_blocks=1)
  monkeypatch.setattr(module, "FFCResNetGenerator", small)
  torch.manual_seed(0)
  lama = LaMa(in_nc=4, out_nc=3)
  lama.model.model[-2].weight.data *= 100  # so that what it fills depends on what it sees by more than rounding
  torch.save(lama.state_dict(), tmp_path / "lama.pth")
  return tmp_path / "lama.pth"


@pytest.fixture
def mask():
  """[18,21], a hole that reaches the right edge, where both are mirrored."""
  mask = np.zeros((HEIGHT, WIDTH), np.float32)
  mask[4:9, 13:] = 1
  return mask


@pytest.fixture
def y():
  return jax.random.uniform(jax.random.key(0), (2, HEIGHT, WIDTH, 3))


def test_masked_pixels_are_filled_as_spandrel_fills_them(lama, mask, y):
  restorer, descriptor = load_spandrel(lama, mask=mask), spandrel.ModelLoader().load_from_file(lama).eval()
  assert isinstance(descriptor, spandrel.MaskedImageModelDescriptor)
  marks = torch.tensor(mask)[None, None]
  images = torch.tensor(np.moveaxis(np.asarray(y), -1, 1)) * (1 - marks)
  with torch.no_grad():
    expected = np.concatenate([descriptor(image[None], marks) for image in images])
  x = np.asarray(restorer.restore(y, None))
  np.testing.assert_allclose(x, np.moveaxis(expected, 1, -1), atol=1e-5)
  hole = mask > 0
  np.testing.assert_array_equal(x[:, ~hole], y[:, ~hole])  # as LaMa returns them
  assert np.std(x[:, hole]) > 0 and np.abs(x[:, hole] - y[:, hole]).max() > 0.1
  np.testing.assert_array_equal(restorer.degrade(y), y * (1 - mask[..., None]))
  assert restorer.degradation.norm == 1


def test_only_visible_pixels_have_a_gradient(lama, mask, y):
  restorer, hole = load_spandrel(lama, mask=mask), mask > 0
  weights = jax.random.normal(jax.random.key(1), y.shape) * mask[..., None]  # of filled pixels alone

  def value(y):
    return jnp.sum(weights * restorer.restore(y, None))

  gradient = jax.grad(value)(y)
  np.testing.assert_array_equal(gradient[:, hole], 0)
  assert np.abs(gradient[:, ~hole]).max() > 0
  norm = jnp.linalg.norm(gradient)
  step = 1e-2 * gradient / norm
  assert (value(y + step) - value(y - step)) / 2e-2 == pytest.approx(float(norm), rel=0.02)


def test_another_mask_is_another_restorer(lama, mask):
  assert load_spandrel(lama, mask=mask).identity != load_spandrel(lama, mask=1 - mask).identity


def test_names_that_begin_with_generator_are_lamas_own(lama, mask):
  state = {name.replace("model.model", "generator.model"): tensor for name, tensor in torch.load(lama).items()}
  torch.save(state, lama)
  assert load_spandrel(lama, mask=mask).name == "LaMa x1"


@pytest.fixture
def flags(lama, mask, tmp_path):
  """Of a command, less its output: two pictures, a mask of their size."""
  (tmp_path / "images").mkdir()
  for number in range(2):
    pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
  Image.fromarray(np.uint8(255 * mask)).save(tmp_path / "mask.png")
  return [
    "--restorer=spandrel", f"--checkpoint={lama}", f"--mask={tmp_path / 'mask.png'}", f"--input={tmp_path / 'images'}",
    f"--output={tmp_path / 'out'}",
  ]  # fmt: skip


def test_pictures_are_filled(flags, mask, tmp_path):
  """Of measurements and of originals alike, since what is masked is not looked at."""
  for degradation in ([], ["--degradation=mask"]):
    restore.main(flags + degradation)
    for number in range(2):
      image, filled = (
        np.asarray(Image.open(tmp_path / path)) for path in (f"images/{number}.png", f"out/{number}-1.png")
      )
      np.testing.assert_array_equal(filled[mask == 0], image[mask == 0])
      assert np.abs(np.float32(filled) - image)[mask > 0].max() > 10
    records = json.loads((tmp_path / "out" / "restore.json").read_text())["images"]
    assert all(record["consistency_db"] == [100.0] for record in records)  # PSNR_CAP: the holes are 0 in both


def test_an_audit_attacks_what_is_visible(flags, tmp_path):
  flags = [*flags, "--max_images=1"]
  quick = ["--alphas=8", "--num_steps=1", "--num_strong_steps=0", "--num_jacobian_steps=0", "--feature_extractor=none"]
  command_line.main([*flags, *quick])
  report = json.loads((tmp_path / "out" / "report.json").read_text())
  assert report["run"]["degradation"] == "mask" and report["run"]["mask"]["file"] == "mask.png"
  assert report["lipschitz_lower_bound"] > 0


def test_an_exploration_finds_other_fillings(flags, tmp_path):
  flags = [*flags, "--max_images=1"]
  explore.main([*flags, "--num_outputs=2", "--num_steps=1"])
  (record,) = json.loads((tmp_path / "out" / "explore.json").read_text())["images"]
  assert record["consistency_db"][0] == 100  # PSNR_CAP, of y itself


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ("--mask=", r"LaMa x1 fills what a mask marks: --mask=FILE"),
    ("--mask={}/white.png", "white.png is white all over: pixels to be filled are white in it"),
    ("--mask={}/large.png", "0 is 21x18, and --mask 42x36: they must have one size"),
    ("--mask={}/missing.png", "missing.png"),
    ("--degradation=jpeg", "--degradation=jpeg: with --mask it is mask, or none"),
    ("--noise_std=0.1", "--noise_std does not go with --mask"),
    ("--tile=16", "--tile does not go with --mask"),
    ("--checkpoint={}/compact.pth", "RealESRGAN Compact x4 takes no mask: leave --mask out"),
    ("--restorer=bicubic", "--mask is for networks of inpainting by spandrel: leave it out with --restorer=bicubic"),
  ],
)
def test_what_does_not_go_with_a_mask_is_one_line(change, message, flags, mask, tmp_path):
  Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(tmp_path / "white.png")
  Image.fromarray(np.uint8(255 * mask).repeat(2, 0).repeat(2, 1)).save(tmp_path / "large.png")
  torch.save(Compact(num_feat=8, num_conv=2, upscale=4).state_dict(), tmp_path / "compact.pth")
  with pytest.raises(UserError, match=message) as error:
    restore.main([*flags, change.format(tmp_path)])
  assert "\n" not in str(error.value)
