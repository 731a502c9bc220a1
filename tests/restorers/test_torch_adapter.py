"""A PyTorch module behind a JAX gradient: the same numbers as the module ported, through the attack too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.attacks import ifgsm
from prt_jax.audit import audit
from prt_jax.errors import UserError
from prt_jax.restorers.architecture import to_params
from prt_jax.restorers.layers import conv, pixel_shuffle
from prt_jax.restorers.restorer import as_restorer
from prt_jax.restorers.torch_adapter import TorchRestorer

torch = pytest.importorskip("torch", reason="the adapter needs PyTorch: pip install -r requirements-test.txt")


@pytest.fixture(scope="module")
def module():
  torch.manual_seed(0)
  return torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.PixelShuffle(2), torch.nn.Tanh())


@pytest.fixture(scope="module")
def ported(module):
  params = to_params({name.removeprefix("0."): tensor.numpy() for name, tensor in module[0].state_dict().items()})
  params = {f"c.{name}": tensor for name, tensor in params.items()}
  return jax.tree_util.Partial(lambda params, y, z: jnp.tanh(pixel_shuffle(conv(params, "c", y), 2)), params)


@pytest.fixture
def y():
  return jax.random.uniform(jax.random.key(0), (2, 6, 8, 3))


def test_outputs_and_gradients_agree(module, ported, y):
  restore = TorchRestorer(module)
  np.testing.assert_allclose(restore(y), ported(y, None), atol=1e-6)

  def loss(restore):
    return jax.grad(lambda y: jnp.sum(restore(y, None) ** 3))(y)

  np.testing.assert_allclose(loss(restore), loss(ported), atol=1e-5)


def test_attacks_agree(module, ported, y):
  z = jnp.zeros((1, 2))
  found = ifgsm(TorchRestorer(module), y, z, jax.random.key(1), alpha=0.05, num_steps=5)
  np.testing.assert_allclose(found, ifgsm(ported, y, z, jax.random.key(1), alpha=0.05, num_steps=5), atol=1e-6)


def test_no_parameter_gets_a_gradient(module, y):
  jax.grad(lambda y: jnp.sum(TorchRestorer(module)(y)))(y)
  assert all(parameter.grad is None for parameter in module.parameters())


def test_the_module_cannot_write_into_our_arrays(y):
  before = np.asarray(y).copy()
  TorchRestorer(lambda x: x.mul_(0))(y)
  np.testing.assert_array_equal(y, before)


def test_noise_reaches_a_stochastic_module(y):
  restore = TorchRestorer(lambda y, z: y + z, stochastic=True)
  np.testing.assert_allclose(restore(y, jnp.full((2, 3, 6, 8), 0.5)), y + 0.5, atol=1e-6)


def test_a_module_with_noise_is_called_with_it(y):
  class AddsNoise(torch.nn.Module):
    def forward(self, y, z=None):
      return y if z is None else y + z

  restorer = as_restorer(AddsNoise(), draw_noise=lambda keys, shape, seeds: jnp.ones((seeds, len(keys), 1, 1, 1)))
  z = restorer.noise(jax.random.split(jax.random.key(0), len(y)), y.shape[1:], 1)[0]
  np.testing.assert_allclose(restorer.restore(y, z), y + 1)
  np.testing.assert_array_equal(as_restorer(AddsNoise()).restore(y, z), y)  # no draws: the module's own default


def test_a_module_runs_where_its_parameters_are():
  module = torch.nn.Conv2d(3, 3, 1).to("meta")
  as_restorer(module)
  assert module.weight.device.type == "meta"


def test_a_module_is_audited_as_it_is(module, y):
  report = audit(module, y, alphas=(0.01, 0.1), num_steps=3)
  assert report["robustness"][0]["output_psnr_db"] > report["robustness"][1]["output_psnr_db"]
  assert report["lipschitz_lower_bound"] > 0
  assert report["images"][0]["lipschitz_from_jacobian"] is None


def test_a_module_is_adapted_by_its_class(module):
  assert as_restorer(module).eager
  assert not as_restorer(lambda y: y).eager


def test_a_module_without_gradients_is_refused(module, y):
  class Detached(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.inner = module

    def forward(self, y):
      with torch.no_grad():
        return self.inner(y)

  with pytest.raises(UserError, match=r"the restorer fails on a measurement .*does not require grad"):
    audit(Detached(), y, alphas=(0.1,), num_steps=1)
