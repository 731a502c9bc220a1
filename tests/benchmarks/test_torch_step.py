"""The PyTorch opponent does the same work: with the same weights and noise, the same losses and gradients."""

import functools

import jax
import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.randomness import Stream, example_keys, normal
from prt_jax.training.estimator import draw_noise
from prt_jax.training.gan import init_state, make_game
from prt_jax.training.step import critic_step, generator_step
from tests import tiny

torch = pytest.importorskip("torch", reason="the opponent needs PyTorch: pip install -r requirements-test.txt")
torch_step = pytest.importorskip("benchmarks.torch_step")

RNG = np.random.default_rng(0)
BATCH = 4


def chw(x):
  return torch.from_numpy(np.moveaxis(np.array(x), -1, -3).copy())


def leaves_in_torchs_order(params):
  """A Flax player's leaves as PyTorch lists its peer's parameters: by module, then kernel or scale before bias."""

  def module_order(name):
    kind, _, index = name.rpartition("_")
    # Flax numbers by kind: what comes first and last in a module is put there by name.
    return {"Conv": 0, "DoubleConv": 1, "ResidualBlock": 1, "BatchNorm": 2, "Dense": 3}[kind], int(index)

  for name in sorted(params, key=module_order):
    tree = params[name]
    if "kernel" in tree:
      kernel = np.array(tree["kernel"])
      yield kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
    elif "scale" in tree:
      yield np.array(tree["scale"])
    else:
      yield from leaves_in_torchs_order(tree)
      continue
    if "bias" in tree:
      yield np.array(tree["bias"])


def generator_leaves(params):
  """The same for the U-Net, whose last convolution is its first by name."""
  yield from leaves_in_torchs_order({name: tree for name, tree in params.items() if name != "Conv_0"})
  yield from leaves_in_torchs_order({"Conv_0": params["Conv_0"]})


def load(module, leaves):
  with torch.no_grad():
    for parameter, leaf in zip(module.parameters(), leaves, strict=True):
      parameter.copy_(torch.from_numpy(leaf.copy()))


def flat(arrays):
  return np.concatenate([np.ravel(array) for array in arrays])


def distance(a, b):
  return np.linalg.norm(a - b) / np.linalg.norm(a)


def gradients(module):
  return flat(parameter.grad.numpy() for parameter in module.parameters())


def as_double(game):
  """The opponent once more, computing in float64."""
  double = torch_step.TorchGame(game.config, seeds_per_pass=game.seeds_per_pass)
  double.generator.load_state_dict(game.generator.state_dict())
  double.critic.load_state_dict(game.critic.state_dict())
  double.generator.double()
  double.critic.double()
  return double


def make_pair(kind="super_resolution"):
  """Our game and state, a PyTorch game of the same weights, and images of both."""
  config = tiny.get_config()
  config.degradation.kind = kind
  config.optim.robust_weight = 10.0  # neither term of the loss hides the other
  config.attack.num_seeds = 3
  game = make_game(config)
  state = init_state(game)
  moved = jax.tree.map(
    lambda leaf: leaf + np.float32(0.1) * RNG.uniform(-1, 1, leaf.shape).astype(np.float32),
    (state.generator_params, state.critic_params),
  )
  state = state.replace(generator_params=moved[0], critic_params=moved[1])
  peer = torch_step.TorchGame(config, seeds_per_pass=2)
  load(peer.generator, generator_leaves(state.generator_params))
  load(peer.critic, leaves_in_torchs_order(state.critic_params))
  images = RNG.integers(0, 256, (BATCH, 32, 32, 3), dtype=np.uint8)
  return game, state, peer, images.astype(np.float32) / 255, peer.prepare(torch.from_numpy(images))


def noise(game, state, stream, num_seeds):
  """The noise of our first step, as the opponent takes it."""
  return tuple(map(chw, draw_noise(game, example_keys(state.key, 0, stream, np.arange(BATCH)), num_seeds)))


def test_what_the_opponent_does_not_know_is_refused_by_its_name():
  config = tiny.get_config()
  config.degradation.kind = "jpeg"
  with pytest.raises(UserError, match="not removal of JPEG artefacts, quality 10"):
    torch_step.TorchGame(config)


def test_critic_step_is_ours():
  game, state, peer, images, torch_images = make_pair()
  z = noise(game, state, Stream.CRITIC_NOISE, 1)
  theirs = peer.critic_step(torch_images, z)
  after, ours = jax.jit(functools.partial(critic_step, game))(state, images, state.key)
  for name, value in theirs.items():
    assert float(ours[name]) == pytest.approx(value.item(), rel=1e-4), name
  # Adam's first moment after one step is (1 - b1) times the gradient, the second-order one of R1 included.
  gradient = flat(leaves_in_torchs_order(after.critic_optimizer[0].mu)) / (1 - game.config.optim.b1)
  # R1's gradient jumps where a LeakyReLU's input crosses 0: rounding moves a few of them across.
  assert distance(gradient, gradients(peer.critic)) < 1e-2


@pytest.mark.parametrize(
  ("kind", "robust"), [("super_resolution", False), ("super_resolution", True), ("inpainting", True)]
)
def test_generator_step_is_ours(kind, robust):
  game, state, peer, images, torch_images = make_pair(kind)
  z = noise(game, state, Stream.GENERATOR_NOISE, 3 if robust else 1)
  start = normal(
    example_keys(state.key, 0, Stream.ATTACK_START, np.arange(BATCH)), (BATCH, *game.degradation.measurement_shape)
  )
  exact = as_double(peer)
  theirs = peer.generator_step(torch_images, robust=robust, z=z, start=chw(start))
  after, ours = jax.jit(functools.partial(generator_step, game, robust=robust))(state, images, state.key)
  for name, value in theirs.items():
    assert float(ours[name]) == pytest.approx(value.item(), rel=5e-3), name
  # Rounding alone moves a robust step's gradient by percents (batch statistics of small planes, the signs that the
  # attack's Adam takes): ours may be as far from float64 as PyTorch's own float32 is, within a factor.
  exact.generator_step(torch_images.double(), robust=robust, z=tuple(n.double() for n in z), start=chw(start).double())
  reference = gradients(exact.generator)
  gradient = flat(generator_leaves(after.generator_optimizer[0].mu)) / (1 - game.config.optim.b1)
  rounding = distance(reference, gradients(peer.generator))
  assert rounding < 0.3
  assert distance(reference, gradient) < max(1e-3, 3 * rounding)
  for name, peers in (("mean", "running_mean"), ("var", "running_var")):
    running = flat([after.batch_stats["DoubleConv_0"][f"BatchNorm_{i}"][name] for i in range(2)])
    torch_averages = flat([getattr(norm, peers).numpy() for norm in peer.generator.stem.norms])
    np.testing.assert_allclose(running, torch_averages, rtol=1e-3)
