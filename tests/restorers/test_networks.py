"""The ported networks agree with PyTorch modules of the same random weights, at every scale that they have."""

import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.restorers import load_network
from tests.conftest import ROOT

torch = pytest.importorskip("torch", reason="the peers need PyTorch: pip install -r requirements-test.txt")

from experiments.torch_imdn import IMDN  # noqa: E402
from tests.restorers import torch_peers, torch_srflow  # noqa: E402 (after the skip: they import torch)

PEERS = {
  ("srresnet", 2): lambda: torch_peers.SRResNet(8, 2, 2),
  ("srresnet", 4): lambda: torch_peers.SRResNet(8, 3, 4),
  ("imdn", 3): lambda: IMDN(16, 2, 2, 3),
  ("imdn", 4): lambda: IMDN(16, 3, 1, 4),
  ("carn_m", 2): lambda: torch_peers.CarnM(16, 4, 2),
  ("carn_m", 3): lambda: torch_peers.CarnM(8, 2, 3),
  ("carn_m", 4): lambda: torch_peers.CarnM(8, 4, 4),
  ("pan", 3): lambda: torch_peers.PAN(8, 6, 2, 3),
  ("pan", 4): lambda: torch_peers.PAN(8, 6, 3, 4),
  ("compact", 4): lambda: torch_peers.Compact(8, 3, 4),
  ("compact", 2): lambda: torch_peers.Compact(8, 2, 2),
  ("rrdbnet", 4): lambda: torch_peers.RRDBNet(8, 4, 2),
  ("edsr", 2): lambda: torch_peers.EDSR(8, 2, 1.0, 2),
  ("edsr", 4): lambda: torch_peers.EDSR(8, 2, 1.0, 4),
}


@pytest.fixture(autouse=True)
def same_weights():
  """The modules draw their kernels from PyTorch's own generator."""
  torch.manual_seed(0)


def randomise(module, seed=0):
  """Random values for everything a checkpoint holds, the statistics of BatchNorm included."""
  generator = torch.Generator().manual_seed(seed)
  for name, tensor in module.state_dict().items():
    if tensor.is_floating_point() and tensor.ndim < 2:
      noise = 0.1 * torch.randn(tensor.shape, generator=generator)
      tensor.copy_(1 + noise.abs() if name.endswith("running_var") else tensor + noise)
  return module.eval()


def measurement(height=10, width=8):
  return np.random.default_rng(0).uniform(size=(2, height, width, 3)).astype(np.float32)


def to_torch(y):
  return torch.from_numpy(np.ascontiguousarray(np.moveaxis(y, -1, 1)))


def saved(module, path):
  torch.save(module.state_dict(), path)
  return path


@pytest.mark.parametrize(("name", "scale"), PEERS)
def test_agrees_with_the_pytorch_module(name, scale, tmp_path):
  module = randomise(PEERS[name, scale]())
  restorer = load_network(name, saved(module, tmp_path / "w.pth"), scale)
  y = measurement()
  with torch.no_grad():
    expected = np.moveaxis(module(to_torch(y)).numpy(), 1, -1)
  x = restorer.restore(jnp.asarray(y), jnp.zeros((1,)))
  assert x.shape == (2, 10 * scale, 8 * scale, 3)
  np.testing.assert_allclose(x, expected, atol=1e-4)
  assert expected.std() > 0.01  # or agreement would say nothing


def test_gradients_agree_with_pytorch(tmp_path):
  module = randomise(IMDN(16, 2, 2, 4))
  restorer = load_network("imdn", saved(module, tmp_path / "w.pth"), 4)
  y = measurement()
  leaf = to_torch(y).requires_grad_()
  (module(leaf) ** 2).sum().backward()
  gradient = jax.grad(lambda y: jnp.sum(restorer.restore(y, jnp.zeros((1,))) ** 2))(jnp.asarray(y))
  expected = np.moveaxis(leaf.grad.numpy(), 1, -1)
  np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())


def test_a_constant_image_has_finite_gradients(tmp_path):
  restorer = load_network("imdn", saved(randomise(IMDN(16, 1, 2, 4)), tmp_path / "w.pth"), 4)
  y = jnp.zeros((1, 6, 6, 3))
  assert jnp.isfinite(jax.grad(lambda y: restorer.restore(y, jnp.zeros((1,))).sum())(y)).all()


def test_wide_edsr_scales_its_residuals_by_a_tenth(tmp_path):
  module = randomise(torch_peers.EDSR(256, 1, 0.1, 2))
  restorer = load_network("edsr", saved(module, tmp_path / "w.pth"), 2)
  y = measurement(5, 4)
  with torch.no_grad():
    expected = np.moveaxis(module(to_torch(y)).numpy(), 1, -1)
  np.testing.assert_allclose(restorer.restore(jnp.asarray(y), jnp.zeros((1,))), expected, atol=1e-4)


def edsr_of_a_range(rgb_range, res_scale):
  """EDSR-PyTorch with --rgb_range and --res_scale, its shifts of the mean included."""
  mean = torch.tensor([0.4488, 0.4371, 0.4040])
  module = torch_peers.EDSR(8, 2, res_scale, 2)
  module.rgb_range = rgb_range
  with torch.no_grad():
    for shift, sign in ((module.sub_mean, -1), (module.add_mean, 1)):
      shift.weight.copy_(torch.eye(3)[:, :, None, None])
      shift.bias.copy_(sign * rgb_range * mean)
  return module.eval()


@pytest.mark.parametrize(("rgb_range", "res_scale"), [(255.0, 1.0), (1.0, 1.0), (255.0, 0.1), (1.0, 0.1), (8.0, 0.5)])
def test_edsr_of_another_range_and_another_residual_scale(rgb_range, res_scale, tmp_path):
  module = edsr_of_a_range(rgb_range, res_scale)
  path = saved(module, tmp_path / "w.pth")
  restorer = load_network("edsr", path, 2, res_scale=None if res_scale == 1 else res_scale)
  assert restorer.name == f"EDSR (rgb_range {rgb_range:g}, res_scale {res_scale:g})"
  y = measurement()
  with torch.no_grad():
    expected = np.moveaxis(module(to_torch(y)).numpy(), 1, -1)
  np.testing.assert_allclose(restorer.restore(jnp.asarray(y), jnp.zeros((1,))), expected, atol=1e-4)
  with pytest.raises(UserError, match="--res_scale is for edsr"):
    load_network("imdn", path, 2, res_scale=0.1)


def test_rrdbnet_reads_basicsr_names(tmp_path):
  module = randomise(torch_peers.RRDBNet(8, 4, 2))
  renamed = {}
  for name, tensor in module.state_dict().items():
    name = name.replace("RRDB_trunk", "body").replace("RDB", "rdb").replace("trunk_conv", "conv_body")
    renamed[name.replace("upconv", "conv_up").replace("HRconv", "conv_hr")] = tensor
  torch.save({"params_ema": renamed}, tmp_path / "basicsr.pth")
  esrgan = load_network("rrdbnet", saved(module, tmp_path / "esrgan.pth"), 4)
  basicsr = load_network("esrgan", tmp_path / "basicsr.pth", 4)
  y = jnp.asarray(measurement())
  np.testing.assert_array_equal(esrgan.restore(y, None), basicsr.restore(y, None))


def test_rrdbnet_reads_the_names_of_its_first_release(tmp_path):
  """One sequence: 0 the first convolution, 1 the trunk with its skip, 2 and 5 enlargements, 4, 7 and 9 activations."""
  module = randomise(torch_peers.RRDBNet(8, 4, 2))
  numbers = {"conv_first": 0, "trunk_conv": "1.sub.2", "upconv1": 3, "upconv2": 6, "HRconv": 8, "conv_last": 10}
  renamed = {}
  for name, tensor in module.state_dict().items():
    owner, _, kind = name.rpartition(".")
    old = f"{numbers[owner]}" if owner in numbers else f"{owner.replace('RRDB_trunk', '1.sub')}.0"
    renamed[f"model.{old}.{kind}"] = tensor
  assert "model.1.sub.1.RDB3.conv5.0.bias" in renamed and "model.1.sub.2.weight" in renamed
  torch.save(renamed, tmp_path / "RRDB_ESRGAN_x4_old_arch.pth")
  new = load_network("esrgan", saved(module, tmp_path / "esrgan.pth"), 4)
  old = load_network("esrgan", tmp_path / "RRDB_ESRGAN_x4_old_arch.pth", 4)
  y = jnp.asarray(measurement())
  np.testing.assert_array_equal(new.restore(y, None), old.restore(y, None))
  del renamed["model.6.bias"]
  torch.save(renamed, tmp_path / "damaged.pth")
  with pytest.raises(UserError, match=r"damaged\.pth is not RRDBNet"):
    load_network("esrgan", tmp_path / "damaged.pth", 4)


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
  torch.manual_seed(0)
  module = randomise(torch_srflow.SRFlow(4, 2, 4, 2, 4, stacked=(0, 1, 2, 3)))
  path = saved(module, tmp_path_factory.mktemp("srflow") / "w.pth")
  return module, load_network("srflow", path, 4)


def test_srflow_samples_what_the_pytorch_module_samples(flow):
  module, restorer = flow
  y = measurement()
  z = jax.tree.map(lambda leaf: leaf[0], restorer.noise(jax.random.split(jax.random.key(0), 2), y.shape[1:], 3))
  x = restorer.restore(jnp.asarray(y), z)
  with torch.no_grad():
    expected = module.reverse(to_torch(y), [to_torch(np.asarray(leaf)) for leaf in z])
  assert x.shape == (2, 40, 32, 3)
  np.testing.assert_allclose(x, np.moveaxis(expected.numpy(), 1, -1), atol=1e-4 * expected.abs().max().item())


def test_srflow_inverts_the_encoding_flow(flow):
  module, restorer = flow
  y = measurement()
  z = jax.tree.map(lambda leaf: leaf[0], restorer.noise(jax.random.split(jax.random.key(1), 2), y.shape[1:], 1))
  x = restorer.restore(jnp.asarray(y), z)
  with torch.no_grad():
    encoded = module.encode(to_torch(np.asarray(x)), to_torch(y))
  for noise, expected in zip(encoded, z, strict=True):
    np.testing.assert_allclose(np.moveaxis(noise.numpy(), 1, -1), expected, atol=1e-3)


def test_srflow_is_stochastic_with_the_authors_temperature(flow):
  _, restorer = flow
  z = restorer.noise(jax.random.split(jax.random.key(0), 4), (16, 16, 3), 5)
  assert [leaf.shape for leaf in z] == [(5, 4, 32, 32, 6), (5, 4, 8, 8, 96)]
  np.testing.assert_allclose([leaf.std() for leaf in z], 0.9, rtol=0.02)
  assert restorer.multiple == 2


def test_the_adapter_of_the_docs_runs_srflow_in_its_authors_code(flow, monkeypatch):
  """As docs/restorers.md has it, over a stand-in for the authors' netG: it restores as the port does."""
  (code,) = re.findall(r"```python\n# authors\.py\n(.*?)```", (ROOT / "docs" / "restorers.md").read_text(), re.DOTALL)
  module, port = flow

  class NetG(torch.nn.Module):
    def forward(self, gt=None, lr=None, z=None, eps_std=None, reverse=False, epses=None, reverse_with_grad=False):
      assert gt is None and z is None and reverse and reverse_with_grad and len(epses) == 2
      return module.reverse(lr, epses), None

  model = types.SimpleNamespace(netG=NetG(), load_network=lambda load_path, network: None)
  option = types.ModuleType("options.options")
  option.parse, option.dict_to_nonedict = lambda path, is_train: {"model_path": path}, dict
  options, models = types.ModuleType("options"), types.ModuleType("models")
  options.options, models.create_model = option, lambda opt: model
  for stand_in in (options, option, models):
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
  names = {}
  exec(compile(code, "authors.py", "exec"), names)
  restorer, y = names["restorer"], measurement()
  assert restorer.stochastic and restorer.multiple == port.multiple and not restorer.traceable
  draws, expected_draws = (own.draws([0, 1], [0], y.shape[1:]) for own in (restorer, port))
  jax.tree.map(np.testing.assert_array_equal, tuple(draws), tuple(expected_draws))
  z = jax.tree.map(lambda leaf: leaf[0], draws)
  expected = port.restore(jnp.asarray(y), z)
  np.testing.assert_allclose(restorer.restore(jnp.asarray(y), z), expected, atol=1e-4 * abs(expected).max())


def test_published_srflow_has_the_authors_layers():
  """Indices and widths that the authors' configuration (K 16, L 3, one split) gives."""
  from prt_jax.restorers.networks.srflow import SRFLOW

  module = torch_srflow.SRFlow()
  expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
  assert SRFLOW.shapes({}, 4) == expected
  assert "flowUpsamplerNet.layers.57.affine.fAffine.0.weight" in expected
  assert expected["flowUpsamplerNet.layers.19.conv.weight"] == (12, 6, 3, 3)


@pytest.mark.parametrize(
  ("name", "peer"),
  [
    ("srresnet", torch_peers.SRResNet), ("imdn", IMDN), ("carn_m", torch_peers.CarnM),
    ("pan", torch_peers.PAN), ("compact", torch_peers.Compact), ("rrdbnet", torch_peers.RRDBNet),
    ("edsr", torch_peers.EDSR),
  ],
)
def test_published_sizes_are_the_defaults(name, peer):
  from prt_jax.restorers import ARCHITECTURES

  with torch.device("meta"):
    state = peer().state_dict()
  expected = {key: tuple(tensor.shape) for key, tensor in state.items() if "num_batches_tracked" not in key}
  assert ARCHITECTURES[name].shapes({}, 4) == expected
