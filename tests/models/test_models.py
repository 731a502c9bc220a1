"""Networks: PyTorch modules of the same weights agree, and the fast formulations are the plain ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.models import MLP, Critic, UNet
from prt_jax.models.layers import average_pool, convolve, fill_channels, max_pool, upsample_bilinear
from prt_jax.randomness import sample_noise

torch = pytest.importorskip("torch", reason="the peers need PyTorch: pip install -r requirements-test.txt")
F = torch.nn.functional

RNG = np.random.default_rng(0)


def chw(x):
  return torch.from_numpy(np.array(x).transpose(0, 3, 1, 2))


def hwc(x):
  return x.detach().numpy().transpose(0, 2, 3, 1)


def kernel(tree):
  return torch.from_numpy(np.array(tree["kernel"]).transpose(3, 2, 0, 1))


def bias(tree):
  return torch.from_numpy(np.array(tree["bias"]))


def randomise(tree):
  """Every leaf moved away from its initial value, so that no zero bias or unit scale hides a mistake."""
  return jax.tree.map(lambda leaf: leaf + 0.1 * RNG.uniform(-1, 1, leaf.shape).astype(np.float32), tree)


def torch_unet(params, stats, x, z, train):
  """The U-Net of paper A, Fig. 6, from torch's own layers and the module's parameters."""

  def double_conv(x, name):
    for i in range(2):
      norm, running = params[name][f"BatchNorm_{i}"], stats[name][f"BatchNorm_{i}"]
      x = F.conv2d(x, kernel(params[name][f"Conv_{i}"]), padding=1)
      mean, var = torch.from_numpy(np.array(running["mean"])), torch.from_numpy(np.array(running["var"]))
      scale = torch.from_numpy(np.array(norm["scale"]))
      x = F.relu(F.batch_norm(x, mean, var, scale, bias(norm), training=train, eps=1e-5))
    return x

  x = double_conv(x, "DoubleConv_0")
  skips = []
  for level in range(1, 5):
    skips.append(x)
    x = double_conv(F.max_pool2d(torch.cat([x, z[level - 1]], 1), 2), f"DoubleConv_{level}")
  for level in range(4):
    up = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    x = double_conv(torch.cat([skips[3 - level], up], 1), f"DoubleConv_{5 + level}")
  return F.conv2d(x, kernel(params["Conv_0"]), bias(params["Conv_0"]))


@pytest.mark.parametrize("train", [False, True])
def test_unet_agrees_with_torch(train):
  unet = UNet(width=3, kernel_init="he_normal")
  x = jax.random.uniform(jax.random.key(0), (4, 64, 64, 3))
  z = jax.tree.map(lambda n: n[0], sample_noise(jax.random.split(jax.random.key(1), 4), UNet.noise_shapes(64), 1))
  variables = jax.jit(lambda: unet.init(jax.random.key(2), x, z, train=False))()
  variables = {name: randomise(tree) for name, tree in variables.items()}
  if train:
    ours, _ = jax.jit(lambda v: unet.apply(v, x, z, train=True, mutable=["batch_stats"]))(variables)
  else:
    ours = jax.jit(lambda v: unet.apply(v, x, z, train=False))(variables)
  theirs = torch_unet(variables["params"], variables["batch_stats"], chw(x), [chw(n) for n in z], train)
  np.testing.assert_allclose(ours, hwc(theirs), rtol=1e-4, atol=1e-4)


def test_critic_agrees_with_torch():
  critic = Critic(width=3, residual_scale=0.1)
  x = jax.random.uniform(jax.random.key(0), (4, 64, 64, 3))
  params = randomise(jax.jit(lambda: critic.init(jax.random.key(1), x))()["params"])
  widths = [(1, 2), (2, 4), (4, 8), (8, 16), (16, 16), (16, 16)]

  def act(x):
    return F.leaky_relu(x, 0.2)

  h = F.conv2d(chw(x), kernel(params["Conv_0"]), bias(params["Conv_0"]), padding=1)
  for i, width in enumerate(np.ravel(widths)):
    block = params[f"ResidualBlock_{i}"]
    residual = F.conv2d(act(h), kernel(block["Conv_0"]), bias(block["Conv_0"]), padding=1)
    residual = F.conv2d(act(residual), kernel(block["Conv_1"]), bias(block["Conv_1"]), padding=1)
    shortcut = F.conv2d(h, kernel(block["Conv_2"])) if h.shape[1] != 3 * width else h
    h = shortcut + 0.1 * residual
    if i % 2 and i < 11:
      h = F.avg_pool2d(h, 2)
  dense = params["Dense_0"]
  flat = torch.from_numpy(hwc(act(h)).reshape(4, -1))
  theirs = flat @ torch.from_numpy(np.array(dense["kernel"])) + bias(dense)
  ours = jax.jit(lambda p: critic.apply({"params": p}, x))(params)
  np.testing.assert_allclose(ours, theirs[:, 0], rtol=1e-4, atol=1e-4)


def test_torch_initialisation_has_torchs_spread():
  params = jax.jit(lambda: MLP().init(jax.random.key(0), jnp.zeros((1, 2))))()["params"]["Dense_1"]
  theirs = torch.nn.Linear(512, 512)
  for ours, peer in ((params["kernel"], theirs.weight), (params["bias"], theirs.bias)):
    assert np.std(ours) == pytest.approx(peer.std().item(), rel=0.1)
    assert np.abs(ours).max() == pytest.approx(512**-0.5, rel=0.05)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_convolution_as_matmul_is_the_convolution(size):
  x, weights = RNG.normal(size=(3, size, size, 5)), RNG.normal(size=(3, 3, 5, 7))
  x, weights = jnp.asarray(x, jnp.float32), jnp.asarray(weights, jnp.float32)
  plain, fast = convolve(x, weights), convolve(x, weights, as_matmul=True)
  np.testing.assert_allclose(plain, fast, atol=1e-5)
  theirs = F.conv2d(chw(x), torch.from_numpy(np.array(weights).transpose(3, 2, 0, 1)), padding=1)
  np.testing.assert_allclose(fast, hwc(theirs), atol=1e-5)


@pytest.mark.parametrize(("channels", "filled"), [(3, 4), (4, 4), (25, 28)])
def test_channels_filled_up_leave_the_convolution_and_its_gradients(channels, filled):
  x, weights = RNG.normal(size=(2, 8, 8, channels)), RNG.normal(size=(3, 3, channels, 7))
  x, weights = jnp.asarray(x, jnp.float32), jnp.asarray(weights, jnp.float32)
  assert [array.shape for array in fill_channels(x, weights)] == [(2, 8, 8, filled), (3, 3, filled, 7)]

  def gradients(convolution):
    return jax.grad(lambda *arrays: jnp.sum(convolution(*arrays) ** 2), (0, 1))(x, weights)

  def of_filled(x, weights):
    return convolve(*fill_channels(x, weights))

  np.testing.assert_allclose(of_filled(x, weights), convolve(x, weights), rtol=1e-5, atol=1e-4)
  for ours, plain in zip(gradients(of_filled), gradients(convolve), strict=True):
    np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-3)


def test_resampling_agrees_with_torch():
  x = jnp.asarray(RNG.normal(size=(2, 8, 4, 3)), jnp.float32)
  np.testing.assert_allclose(max_pool(x), hwc(F.max_pool2d(chw(x), 2)), atol=1e-6)
  np.testing.assert_allclose(average_pool(x), hwc(F.avg_pool2d(chw(x), 2)), atol=1e-6)
  up = F.interpolate(chw(x), scale_factor=2, mode="bilinear", align_corners=False)
  np.testing.assert_allclose(upsample_bilinear(x), hwc(up), atol=1e-6)


def test_max_pool_gradient_goes_to_the_maximum():
  x = jnp.asarray([[1.0, 4.0], [2.0, 3.0]]).reshape(1, 2, 2, 1)
  gradient = jax.grad(lambda x: max_pool(x).sum())(x)
  np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 1], [0, 0]])


def test_noise_shapes_are_the_down_blocks_inputs():
  assert UNet.noise_shapes(64) == ((64, 64, 1), (32, 32, 1), (16, 16, 1), (8, 8, 1))
