"""A PyTorch module behind a JAX gradient: the same numbers as the module ported, through the attack too."""

import copy
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.attacks import ifgsm
from prt_jax.audit import audit
from prt_jax.errors import UserError
from prt_jax.evaluation.exploration import explore
from prt_jax.lipschitz import jacobian_lower_bound
from prt_jax.restorers.networks.architecture import to_params
from prt_jax.restorers.networks.torch_layers import conv, pixel_shuffle
from prt_jax.restorers.restorer import as_restorer, per_channel
from prt_jax.restorers.torch_adapter import TorchRestorer
from tests.attacks.test_attacks import compilations

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


def test_more_steps_compile_nothing_more(module, y):
  """A module is called untraced, and what is around it must not be compiled at each call."""
  counts = []
  for num_steps in (2, 3, 6):
    with compilations() as compiled:
      audit(module, y, alphas=(0.1,), num_steps=num_steps, num_strong_steps=num_steps, num_jacobian_steps=num_steps)
      explore(TorchRestorer(module), y[:1], None, jax.random.key(0), num_outputs=2, num_steps=num_steps)
    counts.append(len(compiled))
  assert counts[0] > 0 and counts[2] <= counts[1] < 60, counts


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


def test_a_module_may_write_into_what_it_is_given(y):
  def restore(x):
    return x.mul_(2).add_(0.1)

  gradient = jax.grad(lambda y: jnp.sum(TorchRestorer(restore)(y) ** 2))(y)
  np.testing.assert_allclose(gradient, 4 * (2 * y + 0.1), rtol=1e-5)


def test_a_module_may_write_into_what_its_gradient_needs(y):
  """The first gradient is computed again with copies, every later one with them at once."""
  calls = []

  def overwrites(x, z):
    calls.append(x)
    squares = z * x**2
    x[:, :1] = squares[:, :1]  # the square needs x as it was
    return x

  z = jnp.full((2, 3, 6, 8), 0.5)
  restore = TorchRestorer(overwrites, stochastic=True)
  expected = jnp.concatenate([y[..., :1], jnp.ones_like(y[..., 1:])], -1)  # 2 z y, and 1
  for count in (2, 3):
    np.testing.assert_allclose(jax.grad(lambda y: jnp.sum(restore(y, z)))(y), expected, rtol=1e-6)
    assert len(calls) == count


@pytest.mark.parametrize(("kind", "name"), [(torch.complex64, "complex64"), (torch.uint8, "uint8")])
def test_images_in_other_numbers_are_refused(kind, name, y):
  with pytest.raises(UserError, match=f"returns torch.{name}: it must return images in floating point"):
    TorchRestorer(lambda x: x.to(kind))(y)


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
  assert 0 < report["images"][0]["lipschitz_from_jacobian"] <= report["lipschitz_lower_bound"]


def test_the_jacobian_of_a_module_is_that_of_its_port(module, ported, y):
  """And both are the largest singular value of the true Jacobian, up to the iteration's end."""
  noise = jnp.zeros(2)
  ours, theirs = (
    jacobian_lower_bound(restore, y, noise, jax.random.key(2), num_steps=200)[0]
    for restore in (ported, TorchRestorer(module))
  )
  np.testing.assert_allclose(ours, theirs, rtol=1e-4)
  for index in range(2):
    matrix = jax.jacobian(lambda one: ported(one[None], None).ravel())(y[index]).reshape(12 * 16 * 3, -1)
    np.testing.assert_allclose(theirs[index], np.linalg.norm(np.asarray(matrix, np.float64), 2), rtol=2e-3)


def test_a_module_is_adapted_by_its_class(module):
  assert not as_restorer(module).traceable
  assert as_restorer(lambda y: y).traceable


@pytest.mark.parametrize("field", ["reconstruction", "sample"])
def test_the_image_of_an_output_object_is_taken(field, module, y):
  """As transformers' super-resolution and diffusers' autoencoders return them."""

  class Wrapped(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.inner = module

    def forward(self, y, return_dict=True):
      return types.SimpleNamespace(**{field: self.inner(y)})

  np.testing.assert_array_equal(as_restorer(Wrapped()).restore(y, None), as_restorer(module).restore(y, None))


def test_other_output_objects_are_refused(y):
  class Wrapped(torch.nn.Module):
    def forward(self, y):
      return {"image": y}

  with pytest.raises(UserError, match="returns a dict: let a module around it return the images alone"):
    as_restorer(Wrapped()).restore(y, None)


def test_arguments_of_a_module_are_bound_by_partial(y):
  """As a denoiser of deepinv's takes its noise level; in half precision, in evaluation mode, with a gradient."""

  class Denoiser(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.weight = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float16))

    def forward(self, y, sigma):
      assert not self.training and y.dtype == torch.float16
      return self.weight * sigma * y

  denoiser = Denoiser()
  restorer = as_restorer(functools.partial(denoiser, sigma=0.25), name="denoiser")
  np.testing.assert_allclose(restorer.restore(y, None), y / 2, atol=1e-3)
  np.testing.assert_allclose(jax.grad(lambda y: restorer.restore(y, None).sum())(y), 0.5, atol=1e-3)
  assert denoiser.training and not restorer.traceable


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


QUICK = {"alphas": (0.1,), "num_steps": 2, "num_jacobian_steps": 0}


class Dropping(torch.nn.Module):
  """Parts in several modes, and an output that depends on the mode."""

  def __init__(self):
    super().__init__()
    self.norm, self.dropout = torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5)
    self.fails = False

  def forward(self, y):
    if self.fails:
      raise RuntimeError("no such thing")
    return 2 * self.dropout(self.norm(y))


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("modes", [(True, True, True), (True, False, True), (False, True, False), (False,) * 3])
def test_an_audit_leaves_every_part_in_its_mode(modes, fails, y):
  module = Dropping()
  module.fails = fails
  for part, module_mode in zip((module, module.norm, module.dropout), modes, strict=True):
    part.training = module_mode
  running = module.norm.running_mean.clone()
  if fails:
    with pytest.raises(UserError, match="no such thing"):
      audit(module, y, **QUICK)
  else:
    # In evaluation mode, whatever mode it was in: no dropout, no statistics of the batch.
    assert audit(module, y, **QUICK)["lipschitz_lower_bound"] == pytest.approx(2, rel=1e-3)
  assert (module.training, module.norm.training, module.dropout.training) == modes
  np.testing.assert_array_equal(module.norm.running_mean, running)


def test_what_is_computed_again_for_the_gradient_is_in_evaluation_mode(y):
  class Checkpointed(Dropping):
    def forward(self, y):
      return torch.utils.checkpoint.checkpoint(super().forward, y, use_reentrant=False)

  gradient = jax.grad(lambda y: jnp.sum(TorchRestorer(Checkpointed())(y)))(y)
  np.testing.assert_allclose(gradient, 2 / np.sqrt(1 + 1e-5), rtol=1e-5)


@pytest.mark.parametrize("kind", ["half", "bfloat16", "double", "DataParallel", "compiled by jit"])
def test_modules_of_other_types_are_audited(kind, module, y):
  other = copy.deepcopy(module)
  if kind == "DataParallel":
    other = torch.nn.DataParallel(other)
  elif kind == "compiled by jit":
    other = torch.jit.script(other)
  else:
    other = getattr(other, kind)()
  restore = TorchRestorer(other)
  tolerance = {"half": 2e-3, "bfloat16": 2e-2}.get(kind, 1e-6)
  assert restore(y).dtype == jnp.float32
  np.testing.assert_allclose(restore(y), TorchRestorer(module)(y), atol=tolerance)
  gradients = (jax.grad(lambda y, r=r: jnp.sum(r(y)))(y) for r in (restore, TorchRestorer(module)))
  np.testing.assert_allclose(*gradients, atol=10 * tolerance)
  reports = [audit(restorer, y, **QUICK | {"num_jacobian_steps": 5}) for restorer in (other, module)]
  # The stronger attack starts along the Jacobian's direction, whose signs rounding turns where it is near zero.
  for kind in ("lipschitz_from_jacobian", "lipschitz_from_attacks"):
    bounds = [report["images"][0][kind] for report in reports]
    assert bounds[0] == pytest.approx(bounds[1], rel=max(10 * tolerance, 0.02)), kind


def test_noise_has_the_type_of_the_parameters(y):
  class AddsNoise(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.gain = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, y, z):
      assert y.dtype == z.dtype == torch.float64
      return self.gain * y + z

  z = jnp.full((2, 3, 6, 8), 0.5)
  np.testing.assert_allclose(TorchRestorer(AddsNoise(), stochastic=True)(y, z), y + 0.5, atol=1e-6)


def test_a_module_that_changes_between_calls_is_seen(y):
  module = torch.nn.Conv2d(3, 3, 1)
  restore = TorchRestorer(module)
  restore(y)
  module.double()
  with torch.no_grad():
    module.weight.zero_()
    module.bias.fill_(0.25)
  np.testing.assert_array_equal(restore(y), 0.25)


class Returns(torch.nn.Module):
  def __init__(self, pick):
    super().__init__()
    self.pick = pick

  def forward(self, y):
    return self.pick(y)


@pytest.mark.parametrize(
  ("restorer", "part"),
  [
    (Returns(lambda y: (y, y)), "returns a tuple: let a module around it return the images alone"),
    (Returns(lambda y: {"sr": y}), "returns a dict"),
    (Returns(lambda y: y[0]), r"returns shape \(3, 6, 8\)"),
    (torch.nn.Conv2d(1, 1, 3, padding=1), "restores one channel: prt_jax.restorers.per_channel"),
    (torch.nn.Conv2d, "Conv2d is a class"),
    (torch.nn.Bilinear(3, 3, 3), "Bilinear needs 2 arguments"),
    (lambda y: torch.nn.functional.interpolate(y, scale_factor=2), "wrap it in .*TorchRestorer"),
    (lambda y: y.unsqueeze(2).expand(-1, -1, 2, -1, -1).flatten(2, 3), "wrap it in .*TorchRestorer"),
    (lambda y: torch.clamp(2 * y, 0, 1), "wrap it in .*TorchRestorer"),
    (lambda channels: torch.nn.Conv2d(3, 3, 1), "returns a Conv2d, which can be called"),
    (lambda y: lambda y: y, "returns a function, which can be called"),
    (lambda y: jnp.concatenate([y] * 4, -1).reshape(-1, 1, 2, 1)[..., 0], "returns shape"),
    (lambda y: y @ jnp.ones((1, 1)), "restores one channel: prt_jax.restorers.per_channel"),
  ],
)
def test_what_cannot_be_audited_is_one_line_with_the_way_out(restorer, part, y):
  with pytest.raises(UserError, match=part) as error:
    audit(restorer, y, **QUICK)
  assert "\n" not in str(error.value)


def test_the_ways_out():
  torch.manual_seed(1)
  y = jax.random.uniform(jax.random.key(0), (1, 8, 8, 3))
  function = audit(TorchRestorer(lambda y: torch.nn.functional.interpolate(2 * y, scale_factor=2)), y, **QUICK)
  assert function["lipschitz_lower_bound"] == pytest.approx(4, rel=1e-3)
  grey = torch.nn.Conv2d(1, 1, 1, bias=False)
  gain = grey.weight.item()
  for restorer in (grey, lambda y: gain * y @ jnp.ones((1, 1))):
    report = audit(per_channel(restorer), y, **QUICK)
    assert report["lipschitz_lower_bound"] == pytest.approx(abs(gain), rel=1e-3)
  x = per_channel(lambda y: jnp.swapaxes(y, 1, 2)).restore(y, None)
  np.testing.assert_array_equal(x, jnp.swapaxes(y, 1, 2))


def test_a_descriptor_of_spandrel(module, y):
  class Sizes:
    minimum, multiple_of, square = 0, 2, False

  class Descriptor:
    """As spandrel has it: the call clips in place and records nothing for gradients."""

    def __init__(self, model):
      self.model, self.scale, self.input_channels, self.output_channels = model, 2, 3, 3
      self.size_requirements, self.purpose, self.architecture = Sizes(), "SR", types.SimpleNamespace(name="Mine")

    @torch.inference_mode()
    def __call__(self, image):
      self.model.eval()
      return self.model(image).clamp_(0, 1)

  descriptor = Descriptor(module)
  assert as_restorer(descriptor).name == "Mine x2" and as_restorer(descriptor, name="a").name == "a"
  assert audit(descriptor, y, **QUICK)["robustness"] == audit(module, y, **QUICK)["robustness"]
