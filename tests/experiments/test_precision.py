"""The emulation: rounding by hand and against PyTorch, programs rewritten whole, numbers those of an evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import precision
from experiments.rounding import BFLOAT16_MANTISSA, TF32_MANTISSA, round_mantissa, with_rounded_products
from prt_jax.attacks.table import ATTACKS
from prt_jax.data import prepare
from prt_jax.data.evaluation_order import evaluation_rows
from prt_jax.errors import UserError
from prt_jax.evaluation.runner import DEVICES, Runner
from prt_jax.restorers.from_run import load_run
from prt_jax.training.checkpoints import Checkpoints, claim_workdir
from prt_jax.training.gan import init_state, make_game
from prt_jax.training.trained_estimator import run_restorer

RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=shape).astype(np.float32) for shape in ((5, 6), (6, 5)))


@pytest.mark.parametrize(
  ("bits", "value", "rounded"),
  [
    (10, 1 + 2.0**-10, 1 + 2.0**-10),  # the last bit that is kept
    (10, 1 + 2.0**-11, 1.0),  # half of it: to the even neighbour, below
    (10, 1 + 3 * 2.0**-11, 1 + 2 * 2.0**-10),  # and above
    (10, 1 + 2.0**-11 + 2.0**-20, 1 + 2.0**-10),  # more than half
    (7, -(1 + 2.0**-8), -1.0),
    (7, 255.5, 256.0),  # carries into the exponent
    (7, (1 + 2.0**-8 + 2.0**-12) * 2.0**127, (1 + 2.0**-7) * 2.0**127),  # in all of float32's range
    (10, (1 + 2.0**-12) * 2.0**-120, 2.0**-120),
  ],
)
def test_rounding_by_hand(bits, value, rounded):
  assert float(round_mantissa(jnp.float32(value), bits)) == rounded


def test_seven_bits_are_pytorchs_bfloat16_and_ten_keep_thirteen_zeros():
  torch = pytest.importorskip("torch")
  x = (RNG.normal(size=10_000) * 10.0 ** RNG.integers(-20, 20, 10_000)).astype(np.float32)
  np.testing.assert_array_equal(
    round_mantissa(x, BFLOAT16_MANTISSA), torch.from_numpy(x).to(torch.bfloat16).float().numpy()
  )
  rounded = np.asarray(round_mantissa(x, TF32_MANTISSA))
  assert not (rounded.view(np.uint32) & ((1 << 13) - 1)).any()
  assert np.abs(rounded / x - 1).max() <= 2.0**-11
  assert np.abs(rounded / x - 1).max() > 0.9 * 2.0**-11


def networks():
  """Functions of (A, B) whose products lie in everything that JAX makes programs of."""

  def loss(a, b):
    return jnp.sum(jax.nn.relu(jax.jit(jnp.matmul)(a, b)) ** 2)

  @jax.custom_vjp
  def with_own_gradient(a, b):
    return a @ b

  with_own_gradient.defvjp(
    lambda a, b: (a @ b, (a, b)), lambda saved, gradient: (gradient @ saved[1].T, saved[0].T @ gradient)
  )
  image, kernel = (1, 5, 6, 1), (3, 2, 1, 5)
  return {
    "loss": loss,
    "gradients": jax.grad(loss, (0, 1)),
    "own gradient": jax.grad(lambda a, b: jnp.sum(jnp.sin(with_own_gradient(a, b)))),
    "checkpoint": jax.grad(jax.checkpoint(lambda a, b: jnp.sum(jnp.sin(a @ b)))),
    "scan": lambda a, b: jax.lax.scan(lambda carry, _: (carry @ b @ a, carry.sum()), a, None, length=2),
    "while": lambda a, b: jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] @ b @ a), (0, a)),
    "branch": lambda a, b: jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: b.T @ a.T),
    "vmap": jax.vmap(jnp.dot, (0, 1)),
    "jvp": lambda a, b: jax.jvp(lambda a: a @ b, (a,), (2 * a,)),
    "convolution": lambda a, b: jax.lax.conv_general_dilated(
      a.reshape(image), b.reshape(kernel), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    ),
  }


@pytest.mark.parametrize("name", networks())
def test_the_rewritten_program_is_the_same_without_rounding_and_another_with_it(name):
  function = networks()[name]
  plain = jax.jit(function)(A, B)
  jax.tree.map(np.testing.assert_array_equal, jax.jit(with_rounded_products(function, lambda x: x))(A, B), plain)
  rounded = with_rounded_products(function, lambda x: 0 * x)(A, B)
  unrounded = [leaf for leaf in jax.tree.leaves(rounded) if np.ndim(leaf) == 2 and np.any(leaf)]
  assert not unrounded  # every matrix here is a product, or a sum of them


def test_operands_of_products_are_rounded_and_nothing_else():
  rounded_a, rounded_b = (np.asarray(round_mantissa(x, 7), np.float64) for x in (A, B))
  ours = with_rounded_products(lambda a, b: (a @ b) * 1.001 + a[:, :5], lambda x: round_mantissa(x, 7))(A, B)
  np.testing.assert_allclose(ours, (rounded_a @ rounded_b) * 1.001 + A[:, :5], rtol=1e-5, atol=1e-5)
  # The gradient of sum((A B)^2) by A is 2 (A B) B^T: the sum of float32 products is an operand anew.
  gradient = with_rounded_products(jax.grad(lambda a, b: jnp.sum((a @ b) ** 2)), lambda x: round_mantissa(x, 7))(A, B)
  outer = np.asarray(round_mantissa(jnp.float32(2 * (rounded_a @ rounded_b)), 7), np.float64)
  np.testing.assert_allclose(gradient, outer @ rounded_b.T, rtol=1e-2, atol=1e-5)


def test_a_network_made_for_a_cpu_is_refused(tiny_config):
  game = make_game(tiny_config, platform="cpu")
  x = jnp.zeros((1, 32, 32, 3))
  params = jax.eval_shape(game.critic.init, jax.random.key(0), x)
  with pytest.raises(ValueError, match="platform='gpu'"):
    jax.eval_shape(with_rounded_products(game.critic.apply, lambda x: x), params, x)


def test_float32s_numbers_are_the_evaluations_and_bfloat16s_are_not(tiny_config, tmp_path):
  tiny_config.eval.batch_size = 4
  claim_workdir(tmp_path / "run", tiny_config)
  checkpoints = Checkpoints(tmp_path / "run", 1)
  checkpoints.save(init_state(make_game(tiny_config)))
  checkpoints.close()
  run = load_run(tmp_path / "run")
  config = run.config
  assert run.step == 0
  images = prepare(config.data).val
  rows = evaluation_rows(images, 4)
  columns = precision.measure(run, images, rows, (1.0, 1e-4), ("float32", "bfloat16 products"))
  runner = Runner(run_restorer(make_game(config), run.weights, "run"), config.attack.num_seeds, where=DEVICES)
  batch = runner.begin(np.asarray(images[rows], np.float32) / 255, None, rows)
  attack = config.attack
  delta = runner.search(batch, ATTACKS["search"], attack.eps, attack.num_steps, learning_rate=attack.learning_rate)
  theirs = runner.measure(runner.attacked(batch, delta, "search"))
  ours = columns["float32"]
  np.testing.assert_allclose(ours["K"][:, 0], theirs["lipschitz"], rtol=1e-3)
  np.testing.assert_allclose(ours["robustness_db"], theirs["robustness_db"], rtol=1e-3)
  np.testing.assert_array_equal(ours["output_psnr_db"], 100)
  np.testing.assert_allclose(ours["K_at_random"][:, 0], ours["slope_at_random"], rtol=0.2)
  rounded = columns["bfloat16 products"]
  assert (rounded["output_psnr_db"] < 80).all() and (rounded["K"][:, 0] != ours["K"][:, 0]).all()
  summary = precision.summarise(columns, (1.0, 1e-4))
  assert summary["float32"]["K_over_float32"]["interval"] == [1, 1]
  off = summary["bfloat16 products"]["by_radius"][1]["K_at_random_off"]
  assert off == pytest.approx(np.median(np.abs(rounded["K_at_random"][:, 1] / ours["K_at_random"][:, 1] - 1)))
  assert off > 0


def test_the_radius_from_which_rounding_drowns_the_change():
  curve = {"K": np.ones((3, 3)), "K_in_float32": np.ones((3, 3)), "slope_at_random": np.full(3, 1.6)}
  common = {name: np.ones(3) for name in ("robustness_db", "consistency_db", "output_psnr_db")}
  columns = {
    "float32": curve | common | {"K_at_random": 2.0 * np.ones((3, 3))},
    "tf32": curve | common | {"K_at_random": np.array([[2.1, 2.0, 9.0]] * 3)},
    "bfloat16": curve | common | {"K_at_random": np.array([[3.0, 2.0, 2.0]] * 3)},
  }
  found = precision.summarise(columns, (1.0, 0.1, 0.01))
  assert [found[mode]["trusted_down_to"] for mode in columns] == [0.01, 0.1, None]
  assert found["float32"]["by_radius"][0]["slope_off"] == pytest.approx(0.25)


def test_a_folder_without_a_run_is_one_line(tmp_path):
  with pytest.raises(UserError, match="is no workdir of a training run"):
    precision.main(["--restorer", str(tmp_path)])
