"""Float32 is multiplied as float32 in all that measures, and as model.precision says in training: read off programs."""

import collections
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.toy_evaluation import second_coordinate
from prt_jax import devices, evaluate, lipschitz
from prt_jax.audit import audit
from prt_jax.data.image_pairs import Pair
from prt_jax.decision_attack import decision_attack
from prt_jax.degradations import make_degradation
from prt_jax.errors import UserError
from prt_jax.evaluation import batch_programs, checked_calls, exploration, measured_parts, runner
from prt_jax.evaluation.measures import Settings
from prt_jax.evaluation.store import Store
from prt_jax.explore import explore_image
from prt_jax.features.extractors import make_extractor
from prt_jax.features.inception import conv_shapes, inception_features
from prt_jax.models import MLPGenerator
from prt_jax.precision import describe, multiplying
from prt_jax.reporting import evaluation_report
from prt_jax.restore import restore_image
from prt_jax.restorers import as_restorer
from prt_jax.restorers.by_name import load_restorer
from prt_jax.training import step
from prt_jax.training.checkpoints import claim_workdir
from prt_jax.training.gan import make_game, state_shapes
from prt_jax.training.trained_estimator import Weights, run_restorer
from tests import tiny
from tests.features.test_squeezenet import random_arrays


def products(text):
  """The precisions of a StableHLO text's convolutions and matrix products: {precision: how many}."""
  found = collections.Counter()
  for line in text.splitlines():
    if "stablehlo.convolution" in line or "stablehlo.dot_general" in line:
      found["HIGHEST" if line.count("HIGHEST") == 2 else "HIGH" if line.count("HIGH") == 2 else "DEFAULT"] += 1
  return found


def lowered(function, *arguments):
  return jax.jit(function).trace(*arguments).lower(lowering_platforms=("tpu",)).as_text()


@pytest.fixture
def programs(monkeypatch):
  """What runs over examples is only lowered, for a TPU: {text: its products}; results are zeros."""
  found = {}

  def over_examples(function):
    results = {}

    def lower(shared, *examples):
      shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), examples)
      if str(shapes) not in results:
        traced = jax.jit(function).trace(shared, *shapes)
        text = traced.lower(lowering_platforms=("tpu",)).as_text()
        found[text] = products(text)
        results[str(shapes)] = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), traced.out_info)
      return results[str(shapes)]

    return lower

  monkeypatch.setattr(devices, "over_examples", over_examples)
  monkeypatch.setattr(devices, "num_devices", lambda: 1)
  batch_programs.program.cache_clear()
  yield found
  batch_programs.program.cache_clear()


def test_every_product_of_an_evaluation_is_in_float32(programs, tmp_path):
  config = tiny.get_config()
  config.unlock()
  config.model.update(dtype="bfloat16", precision="default")
  config.eval.update(num_examples=4, batch_size=4, strong_num_examples=4, strong_num_steps=1, strong_num_restarts=1)
  config.eval.update(curve_num_examples=4, curve_alphas=(8.0,), curve_num_steps=1, num_jacobian_steps=1)
  game = make_game(config, platform="tpu", dtype="float32")
  np.savez(tmp_path / "squeezenet.npz", **random_arrays())
  config.eval.update(feature_extractor="squeezenet", feature_weights=str(tmp_path / "squeezenet.npz"))
  extractor, lpips_params, _ = evaluate.load_networks(config)
  dataset = types.SimpleNamespace(val=np.zeros((4, 32, 32, 3), np.uint8), fingerprint="zeros")
  weights = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), Weights.of(state_shapes(game)))
  settings = Settings(12, 0, None, lpips_params)
  measured = runner.Runner(run_restorer(game, weights, "zeros"), 2, settings, where=runner.DEVICES)
  parts = evaluate.make_parts(measured, config, dataset, "", extractor)
  measured_parts.fill(Store(None), parts, lambda _: evaluate.begin(measured, dataset, np.arange(4)), 4, {})
  total = sum(programs.values(), collections.Counter())
  assert total.keys() == {"HIGHEST"}, total
  assert total["HIGHEST"] > 150 and sum(bool(count) for count in programs.values()) >= 6
  assert not any("bf16" in text for text in programs)


def test_every_extractor_multiplies_in_float32():
  shapes, _ = conv_shapes()
  inception = {name: {"kernel": real(*shape), "bias": real(shape[-1])} for name, shape in shapes.items()}
  pixels = make_extractor(types.SimpleNamespace(feature_extractor="pixels", feature_weights=""), "").features
  for features, params, least in ((inception_features, inception, 94 + 2), (pixels, {}, 2)):
    found = products(lowered(features, params, real(2, 64, 64, 3)))
    assert found.keys() == {"HIGHEST"} and found["HIGHEST"] >= least, found


@pytest.mark.parametrize(("asked", "found"), [("highest", "highest"), ("tf32", "tensorfloat32"), ("default", None)])
def test_training_is_traced_in_the_precision_of_its_config(tiny_config, monkeypatch, asked, found):
  seen = []
  monkeypatch.setattr(step, "over_devices", lambda function, _: function)
  for name in ("training_step", "training_cycles"):
    monkeypatch.setattr(step, name, lambda *_, name=name, **__: seen.append((name, asked_of_jax())))
  tiny_config.model.precision = asked
  game = make_game(tiny_config)
  step.make_train_step(game, robust=True)(None, None)
  step.make_train_cycles(game)(None, None)
  assert seen == [("training_step", found), ("training_cycles", found)]


def test_gradients_and_the_search_multiply_in_their_trainings_precision(tiny_config):
  tiny_config.model.update(precision="tf32", stochastic=False)
  tiny_config.attack.update(num_steps=1, num_seeds=1)
  game = make_game(tiny_config, axis_name=devices.AXIS, platform="tpu")
  batch = jax.ShapeDtypeStruct((4, 2, 32, 32, 3), np.uint8)
  text = step.make_train_step(game, robust=True).lower(state_shapes(game), batch).as_text()
  # What folds upsampling into kernels is of their size, and float32 whatever is asked for.
  assert products(text).keys() == {"HIGH", "HIGHEST"}


def test_default_leaves_jax_as_it_is_set():
  with jax.default_matmul_precision("highest"):
    assert multiplying("default", asked_of_jax)() == "highest"
  assert multiplying("default", asked_of_jax)() is None
  assert multiplying("highest", asked_of_jax)() == "highest" and asked_of_jax() is None


def asked_of_jax():
  return jax.config.jax_default_matmul_precision


@pytest.mark.parametrize("kind", ["inpainting", "super_resolution", "statistical"])
def test_no_projection_has_a_product_whose_precision_could_matter(kind):
  """Sums and differences alone, also in training and in gradients."""
  statistical = kind == "statistical"
  fields = {"factor": 4, "noise_std": 0.1 * statistical, "consistency": "statistical" if statistical else "exact"}
  degradation = make_degradation({"kind": "super_resolution" if statistical else kind, **fields}, 32)

  def both_ways(x, y):
    x_hat, gradient = jax.vjp(degradation.project, x, y)
    return x_hat, gradient(x_hat), degradation.clean(x), degradation.network_input(y)

  assert not products(lowered(both_ways, real(2, 32, 32, 3), real(2, *degradation.measurement_shape)))


def real(*shape):
  return jax.ShapeDtypeStruct(shape, np.float32)


def test_whatever_measures_a_restorer_asks_for_float32():
  """Of a function of the user's too: it is traced where JAX is set to the highest precision."""
  seen = collections.Counter()

  def restore(y, z):
    seen[asked_of_jax()] += 1
    return (1 + z) * y.repeat(2, 1).repeat(2, 2)

  def degrade(x):
    seen[asked_of_jax()] += 1
    return x[:, ::2, ::2]

  def classify(x):
    seen[asked_of_jax()] += 1
    return x.mean((1, 2))[:, :2]

  y, key = jnp.full((1, 4, 4, 3), 0.5), jax.random.key(0)
  z = jnp.zeros((1, 1))

  def draw_noise(keys, shape, seeds):
    return jnp.zeros((seeds, len(keys)))

  pair = Pair("a", None, np.asarray(y[0]))
  measures = {
    "audit": lambda restorer: audit(restorer, y, alphas=(0.1,), num_steps=2, num_jacobian_steps=1),
    "restore": lambda restorer: restore_image(restorer, pair, key, 2),
    "explore": lambda restorer: explore_image(
      restorer, pair, key, num_outputs=2, min_input_psnr=30.0, num_steps=1
    ),
    "exploration": lambda restorer: exploration.explore(restorer.restore, y, z[0], key, num_outputs=2, num_steps=1),
    "random outputs": lambda restorer: exploration.random_outputs(restorer.restore, y, z[0], key, num_outputs=2),
    "attack bound": lambda restorer: lipschitz.attack_lower_bound(restorer.restore, y, z, key, eps=0.1, num_steps=1),
    "Jacobian bound": lambda restorer: lipschitz.jacobian_lower_bound(restorer.restore, y, z[0], key, num_steps=1),
    "decision": lambda restorer: decision_attack(restorer.restore, classify, y, z, target=1, num_steps=1),
    "one restoration": lambda restorer: checked_calls.restore_all(restorer.restore, y, z),
  }
  for name, measure in measures.items():
    fresh = as_restorer(lambda y, z: restore(y, z), draw_noise=draw_noise, degrade=degrade)  # not yet compiled
    seen.clear()
    measure(fresh)
    assert seen.keys() == {"highest"}, (name, seen)


def test_toys_are_measured_in_float32():
  generator = MLPGenerator(4)
  params = jax.eval_shape(generator.init, jax.random.key(0), real(3, 1), (real(3, 1),), train=False)["params"]
  assert products(lowered(second_coordinate(generator), params, real(3, 1), (real(3, 1),))) == {"HIGHEST": 5}


@pytest.mark.parametrize("value", ["float32", "bfloat16", ""])
def test_an_unknown_precision_is_refused(tiny_config, value):
  with tiny_config.ignore_type():
    tiny_config.model.precision = value
  with pytest.raises(UserError, match=r"model.precision=.* is unknown: choose one of highest, tf32, default"):
    make_game(tiny_config)


def test_a_net_trained_in_bfloat16_is_evaluated_in_float32(tiny_config, tmp_path, monkeypatch):
  """As the protocol says; so is the workdir of its run, wherever it is named."""

  class Made(Exception):
    pass

  def make_and_stop(*arguments, **keywords):
    raise Made(make_game(*arguments, **keywords))

  tiny_config.model.dtype = "bfloat16"
  claim_workdir(tmp_path / "run", tiny_config)
  monkeypatch.setattr(evaluate, "make_game", make_and_stop)
  monkeypatch.setattr("prt_jax.restorers.from_run.make_game", make_and_stop)
  for use in (lambda: evaluate.evaluate(tiny_config, tmp_path / "run"), lambda: load_restorer(str(tmp_path / "run"))):
    with pytest.raises(Made) as caught:
      use()
    made = caught.value.args[0]
    assert made.generator.dtype == jnp.float32 and made.config.model.dtype == "bfloat16"
  assert make_game(tiny_config).generator.dtype == jnp.bfloat16


# What is shown of any report.
SHOWN = {"variant": "v", "task": "t", "step": 1, "published": {"source": "", "values": {}}, "missing": []}


@pytest.mark.parametrize(("hardware", "done"), [("4 x cpu (cpu)", True), ("1 x NVIDIA A100 (gpu)", False)])
def test_an_evaluation_of_before_the_protocol_said_the_precision(tmp_path, hardware, done):
  """On a CPU it was float32 all the same; on an accelerator it was not."""
  protocol = {"data": "a", "dtype": "float32"}
  content = SHOWN | {"hardware": hardware, "protocol": protocol, "results": {}}
  (tmp_path / "report.json").write_text(json.dumps(content))
  found = evaluation_report.read(tmp_path, protocol | {"precision": "highest"})
  assert (found is not None) == done


def test_a_run_says_what_it_multiplies_in():
  assert "products in TF32" in describe("float32", "default", "gpu")
  assert "one bfloat16 pass" in describe("float32", "default", "tpu")
  assert "three bfloat16 passes" in describe("float32", "tf32", "tpu")
  for backend in ("cpu", "gpu", "tpu"):
    assert "products in float32" in describe("float32", "highest", backend)
  assert "products in float32" in describe("float32", "tf32", "cpu")
  assert "bfloat16" in describe("bfloat16", "default", "gpu")
  with jax.default_matmul_precision("highest"):
    assert "JAX_DEFAULT_MATMUL_PRECISION=highest" in describe("float32", "default", "gpu")
