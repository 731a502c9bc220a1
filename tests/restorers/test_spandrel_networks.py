"""Networks by spandrel: the numbers of its own call, at any size, with gradients; what it cannot take is said."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.restorers import as_restorer

torch = pytest.importorskip("torch", reason="spandrel needs PyTorch: pip install -r requirements-test.txt")

from prt_jax.restorers.any_size import any_size  # noqa: E402
from prt_jax.restorers.spandrel_networks import from_descriptor, import_spandrel, load_spandrel  # noqa: E402

spandrel = import_spandrel()  # which makes torchvision importable, before anything else of spandrel is imported
from safetensors.torch import save_file  # noqa: E402
from spandrel.architectures.Compact import Compact  # noqa: E402
from spandrel.architectures.DnCNN import DnCNN  # noqa: E402
from spandrel.architectures.DRUNet import DRUNet  # noqa: E402
from spandrel.architectures.PLKSR import PLKSR, RealPLKSR  # noqa: E402
from spandrel.architectures.RCAN import RCAN  # noqa: E402
from spandrel.architectures.SwinIR import SwinIR  # noqa: E402

from prt_jax.restorers.networks.torch_safmn import SAFMN, ResponseNorm  # noqa: E402


def compact():
  return Compact(num_feat=8, num_conv=2, upscale=4)


def grey():
  return DnCNN(in_nc=1, out_nc=1, nc=8, nb=17, act_mode="R")


def with_noise_level():
  return DRUNet(in_nc=4, out_nc=3, nc=[8, 8, 8, 8], nb=4, act_mode="R")  # sides must be multiples of 8


def rcan():
  return RCAN(scale=2, n_resgroups=1, n_resblocks=1, n_feats=16)  # scales its input in place


def plksr():
  return PLKSR(dim=16, n_blocks=1, upscaling_factor=2)  # writes into what its backward pass needs


def real_plksr():
  return RealPLKSR(dim=16, n_blocks=1, upscaling_factor=2)  # likewise


def attention():
  return SwinIR(
    embed_dim=12, depths=[1], num_heads=[2], window_size=8, mlp_ratio=2.0, upscale=2, upsampler="pixelshuffledirect",
  )  # fmt: skip


def saved(tmp_path, module, ending="pth", wrap=lambda state: state):
  path = tmp_path / f"network.{ending}"
  state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
  (save_file if ending == "safetensors" else torch.save)(wrap(state), path)
  return path


@pytest.fixture(autouse=True)
def seeded():
  torch.manual_seed(0)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize(
  ("make", "scale", "name"),
  [
    (compact, 4, "RealESRGAN Compact x4"),
    (grey, 1, "DnCNN x1"),
    (with_noise_level, 1, "DRUNet x1"),
    (rcan, 2, "RCAN x2"),
    (plksr, 2, "PLKSR x2"),
    (real_plksr, 2, "PLKSR x2"),
    (attention, 2, "SwinIR x2"),
  ],
)
def test_a_file_is_restored_as_spandrel_restores(make, scale, name, ending, tmp_path):
  path = saved(tmp_path, make(), ending)
  restorer, descriptor = any_size(load_spandrel(path)), spandrel.ModelLoader().load_from_file(path)
  assert (restorer.name, restorer.scale) == (name, scale)
  # An odd size, two images, and values from which every network leaves [0, 1].
  y = jax.random.uniform(jax.random.key(0), (2, 19, 22, 3), minval=-1, maxval=2)
  images = torch.tensor(np.moveaxis(np.asarray(y), -1, 1))
  if make is grey:
    images = images.reshape(6, 1, 19, 22)
  expected = np.stack([descriptor(image[None])[0].numpy() for image in images]).reshape(2, 3, 19 * scale, 22 * scale)
  x = np.asarray(restorer.restore(y, None))
  np.testing.assert_allclose(np.clip(x, 0, 1), np.moveaxis(expected, 1, -1), atol=1e-5)
  assert x.min() < 0 or x.max() > 1  # not clipped: a bound of what moves would be one of what is cut
  np.testing.assert_array_equal(as_restorer(descriptor).restore(y, None), x)


@pytest.mark.parametrize("make", [compact, grey, with_noise_level, rcan, plksr, real_plksr, attention])
def test_gradients_are_those_of_the_function(make, tmp_path):
  restorer = any_size(load_spandrel(saved(tmp_path, make())))
  keys = jax.random.split(jax.random.key(1), 3)
  y, direction = (jax.random.uniform(key, (1, 17, 16, 3)) for key in keys[:2])
  weights = jax.random.normal(keys[2], (1, 17 * restorer.scale, 16 * restorer.scale, 3))

  def value(y):
    return jnp.sum(weights * restorer.restore(y, None))

  step = 1e-3
  slope = (value(y + step * direction) - value(y - step * direction)) / (2 * step)
  assert jnp.sum(jax.grad(value)(y) * direction) == pytest.approx(float(slope), rel=0.02, abs=0.02)


def test_half_precision_is_how_a_file_is_stored_alone(tmp_path):
  module = compact()
  half = load_spandrel(saved(tmp_path, module.half()))
  y = jax.random.uniform(jax.random.key(2), (1, 16, 16, 3))
  same = load_spandrel(saved(tmp_path, module.float()))
  np.testing.assert_array_equal(half.restore(y, None), same.restore(y, None))


def test_what_a_trainer_wrapped_is_unwrapped(tmp_path):
  module = compact()
  plain = load_spandrel(saved(tmp_path, module))

  def wrap(state):
    return {"params_ema": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3}

  assert load_spandrel(saved(tmp_path, module, wrap=wrap)).identity == plain.identity


def test_other_weights_are_another_restorer(tmp_path):
  assert load_spandrel(saved(tmp_path, compact())).identity != load_spandrel(saved(tmp_path, compact())).identity


@pytest.mark.parametrize(("height", "width", "padded"), [(16, 24, (24, 24)), (9, 33, (40, 40)), (24, 24, (24, 24))])
def test_windows_squares_and_smallest_sides(height, width, padded):
  """A square network of windows of 8, of at least 24 pixels: it sees such sizes alone, results have the picture's."""
  seen = []

  class Network(torch.nn.Module):
    def forward(self, y):
      seen.append(tuple(y.shape[2:]))
      return y.repeat_interleave(2, 2).repeat_interleave(2, 3)

  descriptor = types.SimpleNamespace(
    model=Network(), input_channels=3, output_channels=3, scale=2, purpose="SR",
    architecture=types.SimpleNamespace(name="Windows"), size_requirements=spandrel.SizeRequirements(24, 8, True),
  )  # fmt: skip
  y = jax.random.uniform(jax.random.key(0), (1, height, width, 3))
  x = any_size(from_descriptor(descriptor)).restore(y, None)
  np.testing.assert_array_equal(x, y.repeat(2, 1).repeat(2, 2))
  assert seen == [padded]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"purpose": "Inpainting"}, "Big LaMa x1 fills what a mask marks: --mask=FILE"),
    ({"input_channels": 1}, "makes 3 channels of 1, and pictures here are RGB"),
    ({"input_channels": 4, "output_channels": 4}, "makes 4 channels of 4"),
  ],
)
def test_networks_that_map_no_picture_to_a_picture_are_refused(change, message):
  fields = {
    "model": torch.nn.Identity(), "input_channels": 3, "output_channels": 3, "scale": 1, "purpose": "Restoration",
    "architecture": types.SimpleNamespace(name="Big LaMa"), "size_requirements": spandrel.SizeRequirements(),
  } | change  # fmt: skip
  with pytest.raises(UserError, match=message):
    from_descriptor(types.SimpleNamespace(**fields))


def test_mistakes_are_one_line(tmp_path):
  with pytest.raises(UserError, match="needs a network: pass --checkpoint"):
    load_spandrel(None)
  path = saved(tmp_path, torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)))
  with pytest.raises(UserError, match=r"no network that spandrel knows; its first tensor is 0.weight \(3, 3, 1, 1\)"):
    load_spandrel(path)
  state = compact().state_dict() | {"body.2.weight": torch.zeros(8, 7, 3, 3)}
  torch.save(state, path)
  with pytest.raises(UserError, match="spandrel cannot build the network of"):
    load_spandrel(path)


def test_a_ported_network_is_named(tmp_path):
  from experiments.torch_imdn import IMDN

  with pytest.raises(UserError, match="one of prt_jax's own: --restorer=imdn --scale=4"):
    load_spandrel(saved(tmp_path, IMDN()))


def test_safmn_of_the_challenge(tmp_path):
  """spandrel's registry has it by this package; widths, depth and scale are read off the file."""
  module = SAFMN(8, 12, 2, 3)
  torch.nn.init.normal_(module.norm.gamma)
  restorer = load_spandrel(saved(tmp_path, module))
  assert (restorer.name, restorer.scale) == ("SAFMN (NTIRE 2023) x3", 3)
  y = jax.random.uniform(jax.random.key(3), (1, 16, 21, 3))
  with torch.no_grad():
    expected = module(torch.tensor(np.moveaxis(np.asarray(y), -1, 1)))
  np.testing.assert_allclose(restorer.restore(y, None), np.moveaxis(expected.numpy(), 1, -1), atol=1e-6)


def test_response_normalisation_by_hand():
  """Two channels of energies 5 and 15, whose mean is 10: shares 1/2 and 3/2."""
  norm = ResponseNorm(2)
  norm.gamma.data[:], norm.beta.data[0, 1] = 2.0, 0.5
  x = torch.tensor([[3.0, 4.0], [9.0, 12.0]]).reshape(1, 2, 1, 2)
  expected = [[3 + 2 * 3 / 2, 4 + 2 * 4 / 2], [9 + 2 * 9 * 1.5 + 0.5, 12 + 2 * 12 * 1.5 + 0.5]]
  np.testing.assert_allclose(norm(x).detach().reshape(2, 2), expected, rtol=1e-5)
