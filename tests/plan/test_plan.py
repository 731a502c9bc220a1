"""--mode=plan: counts against hand counts, sizes against real arrays, what fits, what is missing, nothing written."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.roofline import unet_flops
from prt_jax import plan, targets
from prt_jax.attacks import over_seeds, sum_over_seeds
from prt_jax.config import load
from prt_jax.data import prepare
from prt_jax.errors import UserError
from prt_jax.features import inception_weights
from prt_jax.models import UNet
from prt_jax.models.formulations import FORMULATIONS
from prt_jax.plan import calibration, planning, text
from prt_jax.plan.counts import TRACED_BATCH, Affine, Work, count
from prt_jax.plan.needs import DOWNLOAD, LEFT_OUT, MISSING, THERE, data_needs, disk_need, evaluation_needs
from prt_jax.plan.work import StepWork
from prt_jax.training.checkpoints import Checkpoints
from prt_jax.training.gan import make_game, state_shapes
from tests import tiny
from tests.commands import assert_one_line, run

EXAMPLES = TRACED_BATCH


def shape(*sizes, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(sizes, dtype)


def test_a_product_and_a_convolution_by_hand():
  def function(x, weights, kernel):
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y.reshape(-1, 4 * 4 * 5).astype(jnp.bfloat16) @ weights

  work = count(function, shape(EXAMPLES, 4, 4, 3), shape(80, 7, dtype=jnp.bfloat16), shape(3, 3, 3, 5))
  convolution, product = 2 * 16 * 9 * 3 * 5, 2 * 80 * 7
  assert work.flops == Affine(0, convolution + product)
  read_and_written = 4 * (16 * 3 + 16 * 5), 2 * (80 + 7)  # bytes an example
  assert work.moved == Affine(4 * 9 * 3 * 5 + 2 * 80 * 7, sum(read_and_written))
  assert work.flops(10) == 10 * (convolution + product)


def test_the_holes_of_a_strides_gradient_are_not_multiplied_with():
  def gradient(x, kernel, y):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.linear_transpose(lambda x: jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME",
                                                                       dimension_numbers=dimensions), x)(y)  # fmt: skip

  work = count(gradient, shape(EXAMPLES, 4, 4, 3), shape(4, 4, 3, 5), shape(EXAMPLES, 2, 2, 5))
  assert work.flops == Affine(0, 2 * (2 * 2) * (4 * 4) * 3 * 5)  # those of the convolution itself


def test_the_generator_counts_as_its_figure_does(monkeypatch):
  # In blocks, kernels hold zeros that count.
  monkeypatch.setitem(FORMULATIONS, "tpu", dataclasses.replace(FORMULATIONS["cpu"], tuned_convolutions=False))
  generator = UNet(width=4, platform="tpu")
  z = tuple(shape(EXAMPLES, *noise) for noise in UNet.noise_shapes(32))
  x = shape(EXAMPLES, 32, 32, 3)
  variables = jax.eval_shape(lambda x, z: generator.init(jax.random.key(0), x, z, train=False), x, z)
  work = count(lambda variables, x, z: generator.apply(variables, x, z, train=False), variables, x, z)
  # The figure's convolutions of concatenations are sums of convolutions here: as many multiplications.
  assert work.flops == Affine(0, unet_flops(4, 32))


def test_loops_count_as_often_as_they_go_round():
  def restore(z):
    return jnp.tanh(z @ jnp.ones((6, 6))) @ jnp.ones((6, 6))

  z = shape(5, EXAMPLES, 6)
  together = count(lambda z: over_seeds(restore, z, 0), z)
  assert together.flops == Affine(0, 5 * 2 * (2 * 6 * 6))
  for seeds_at_once in (1, 2):  # two groups and a rest
    assert count(lambda z, at_once=seeds_at_once: over_seeds(restore, z, at_once), z).flops == together.flops

  def gradient(z, at_once):
    def squares(shared, outputs, z):
      return jnp.sum((restore(z + shared) - outputs) ** 2)

    return jax.grad(lambda shared: sum_over_seeds(squares, shared, z, z, at_once))(z[0])

  assert count(lambda z: gradient(z, 1), z).flops == count(lambda z: gradient(z, 0), z).flops == Affine(0, 5 * 288)

  def loop(body, turns):
    return lambda z: jax.lax.scan(lambda carry, _: (body(carry), None), z, length=turns)[0]

  assert count(loop(loop(restore, 3), 4), z).flops == Affine(0, 12 * together.flops.per_example)


def test_a_choice_counts_its_dearer_branch_and_an_endless_loop_is_refused():
  weights = jnp.ones((6, 6))
  x = shape(EXAMPLES, 6)
  chosen = count(lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ weights @ weights, lambda x: x @ weights, x), x)
  assert chosen.flops == Affine(0, 2 * 72)
  with pytest.raises(ValueError, match="while loop"):
    count(lambda x: jax.lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x @ weights, x), x)


def test_memory_by_hand():
  """The fullest moment of sin(x) + cos(x) -> sum, then a large constant: two arrays an example, or the constant."""

  def function(x):
    a = jnp.sin(x)
    b = jnp.cos(x)
    return jnp.sum(a * b, 1), jnp.sum(jnp.zeros(1000))

  work = count(function, shape(EXAMPLES, 10))
  assert work.peak(100) == 3 * 100 * 10 * 4  # sin, cos and their product
  assert work.peak(1) == 4000 and Affine(4000, 0) in work.kept
  # Inside a loop, once, however often it goes round.

  def loop(x):
    return jax.lax.scan(lambda total, _: (total + function(x)[0], None), jnp.zeros(EXAMPLES), length=9)[0]

  assert 3 * 1000 * 40 <= count(loop, shape(EXAMPLES, 10)).peak(1000) <= 3 * 1000 * 40 + 3 * 4000


def test_the_state_is_as_large_as_a_checkpoint(tiny_config, tmp_path):
  shapes = state_shapes(make_game(tiny_config))
  state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes.replace(key=None))
  checkpoints = Checkpoints(tmp_path, 1)
  checkpoints.save(state.replace(key=jax.random.key(0)))
  checkpoints.wait()
  saved = checkpoints._manager.restore(0)
  assert StepWork(tiny_config).state_bytes("tpu") == sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(saved))
  checkpoints.close()


class OnePlatform(StepWork):
  """A GPU's formulation as a TPU's, to trace it once."""

  def step(self, platform, robust):
    return super().step("tpu", robust)

  def robust_generator_step(self, platform, seeds_at_once):
    return super().robust_generator_step("tpu", seeds_at_once)


@pytest.fixture(scope="module")
def work():
  """The tiny config's counts, shared: tracing a step takes seconds. Two seeds, one attack step."""
  config = tiny.get_config().copy_and_resolve_references()
  config.unlock()
  config.attack.num_steps = 1
  return OnePlatform(config)


@pytest.fixture
def config(tiny_config):
  tiny_config.attack.num_steps = 1
  tiny_config.eval.update(num_examples=8, num_neighbors=3, strong_num_examples=0)
  return tiny_config


def test_what_does_not_fit_and_what_does(config, work):
  small = plan.plan(config, "tpu-v5e", work=work)
  assert small.fits and small.num_steps == {"plain": 6, "robust": 2}
  assert small.hours == pytest.approx((6 * small.steps["plain"].seconds + 2 * small.steps["robust"].seconds) / 3600)
  config.train.batch_size = 2_000_000
  huge = plan.plan(config, "tpu-v5e", work=work)
  assert not huge.fits and "does not fit" in text.verdict(huge)
  config.train.batch_size = huge.largest_batch_size
  assert huge.largest_batch_size > 8 and plan.plan(config, "tpu-v5e", work=work).fits
  config.train.batch_size += 16
  assert not plan.plan(config, "tpu-v5e", work=work).fits
  # The batch is over all devices, the memory is of one.
  two = plan.plan(config, "tpu-v5e", work=work, num_devices=2)
  assert two.fits and two.largest_batch_size == 2 * huge.largest_batch_size
  config.train.batch_size = 16
  with pytest.raises(UserError, match="does not divide over 3 devices"):
    plan.plan(config, "tpu-v5e", work=work, num_devices=3)


def test_fewer_seeds_at_once_where_all_do_not_fit(config):
  config.attack.num_seeds = 6  # so that a robust step needs the most memory
  work = StepWork(config)
  config.train.batch_size = most = 80_000
  needed = plan.plan(config, "tpu-v5e", work=work).memory.total
  tight = plan.plan(config, "tpu-v5e", work=work, memory_bytes=needed - 1)
  assert tight.seeds_at_once == 6 and 0 < tight.seeds_at_once_that_fit < 6
  assert f"attack.seeds_at_once={tight.seeds_at_once_that_fit} does" in text.verdict(tight)
  one_seed = work.robust_generator_step("tpu", 1)
  assert one_seed.peak(most) < work.step("tpu", True).peak(most)
  # Not even that: then a smaller batch, one seed at a time.
  tighter = plan.plan(config, "tpu-v5e", work=work, memory_bytes=needed // 40)
  assert tighter.seeds_at_once_that_fit == 0 and 0 < tighter.batch_size_one_seed < most
  assert f"train.batch_size={tighter.batch_size_one_seed} with attack.seeds_at_once=1 does" in text.verdict(tighter)


def test_the_data_set_counts_where_it_is_placed_on_the_device(config, work):
  size = 24 * 32 * 32 * 3
  on_device = {
    placement: plan.plan(config, "h100", work=work, memory_bytes=memory).memory.data
    for placement, memory in (("device", 100), ("host", 2**30), ("auto", 2**30))
    if not config.data.update(placement=placement)
  }
  assert on_device == {"device": size, "host": 0, "auto": size}
  assert plan.plan(config, "h100", work=work, memory_bytes=3 * size).memory.data == 0  # auto: more than .3 of it
  config.data.placement = "attic"
  with pytest.raises(UserError, match=r"data\.placement='attic'"):
    plan.plan(config, "h100", work=work)


def test_mistakes_are_errors_wherever_it_would_run(config, work):
  with pytest.raises(UserError, match=r"--target='tpu-v9' is unknown: choose one of tpu-v5e"):
    plan.plan(config, "tpu-v9")
  config.train.checkpoint_every_steps = 0
  with pytest.raises(UserError, match=r"train\.checkpoint_every_steps=0"):
    plan.plan(config, "h100", work=work)


def test_a_compiled_program_is_estimated_as_itself():
  for program in calibration._PROGRAMS:
    target, batch = targets.TARGETS[program.target], program.batch
    work = Work(Affine(program.counted_flops), Affine(program.counted_moved), (Affine(program.counted_peak),))
    found = calibration.estimate(target, program.step, program.dtype, batch, work)
    assert found.moved == program.moved
    if program.temporaries:
      assert found.temporaries_ratio * program.counted_peak == pytest.approx(program.temporaries)
    if program.cycles:
      assert found.basis == calibration.COMPILER
      assert found.seconds == pytest.approx(program.cycles / target.clock_hz)
      assert found.seconds >= program.bound_seconds()
    else:
      assert found.basis == calibration.BOUND
      assert found.seconds == pytest.approx(
        max(program.moved / target.bytes_per_second, program.counted_flops / target.peak_flops[program.dtype])
      )


def test_a_cards_bound_stands_beside_what_a_measured_card_would_make_of_it(config, work):
  config.train.num_steps = 30_000_000
  planned = plan.plan(config, "h100", work=work)
  by_step = {name: planned.num_steps[name] * planned.steps[name].seconds for name in planned.steps}
  hours = sum(by_step[name] * {"plain": 11.4, "robust": 4.79}[name] for name in by_step) / 3600
  shown = text.render(planned)
  bound = f"{sum(by_step.values()) / 3600:,.1f}"
  assert f"at least {bound} hours" in shown and f"at least {bound} device-hours" in shown
  assert f"{hours:,.1f} hours at as many times its bound as an H200" in shown
  assert "H200" not in text.render(plan.plan(config, "tpu-v5e", work=work))


def test_the_nearest_program_is_scaled(monkeypatch):
  base = dict(
    step="robust", config="x", source="y", cycles=3_000_000, temporaries=500, code=7, counted_flops=10**9,
    counted_moved=10**6, counted_peak=1000, moved=10**9,
  )  # fmt: skip
  programs = [
    calibration.Program(target="tpu-v5e", batch=64, dtype="bfloat16", **base),
    calibration.Program(target="tpu-v5e", batch=64, dtype="float32", **base | {"moved": 4 * 10**9}),
    calibration.Program(target="h100", batch=64, dtype="bfloat16", **base | {"cycles": None, "temporaries": None}),
  ]
  monkeypatch.setattr(calibration, "_PROGRAMS", programs)
  work = Work(Affine(0, 10**9 // 64), Affine(0, 10**6 // 64), (Affine(0, 10),))
  own = calibration.estimate(targets.find("tpu-v5e"), "robust", "bfloat16", 128, work)
  assert own.moved == pytest.approx(2 * 10**9) and own.seconds == pytest.approx(2 * 3_000_000 / 1.5e9)
  assert (own.temporaries_ratio, own.code) == (0.5, 7)
  assert calibration.estimate(targets.find("tpu-v5e"), "robust", "float32", 64, work).moved == pytest.approx(4 * 10**9)
  # Another chip of the kind: its own bandwidth, and the label says whose program it was.
  v6e = calibration.estimate(targets.find("tpu-v6e"), "robust", "bfloat16", 128, work)
  assert v6e.seconds == pytest.approx(own.seconds * 819 / 1640) and "for tpu-v5e, scaled" in v6e.basis
  a100 = calibration.estimate(targets.find("a100"), "robust", "bfloat16", 64, work)
  assert a100.seconds == pytest.approx(10**9 / 2039e9) and "compiled for h100" in a100.basis
  assert a100.temporaries_ratio == 1.0


def test_data_that_is_there_or_missing(tiny_config, photographs, tmp_path):
  data = tiny_config.data
  data.cache_dir = str(tmp_path / "cache")
  counts, need, prepared = data_needs(data)
  assert (counts, need.state, prepared) == ({"train": 24, "val": 8}, THERE, False)
  assert not (tmp_path / "cache").exists()
  prepare(data)
  counts, need, prepared = data_needs(data)
  assert (counts, need.state, prepared) == ({"train": 24, "val": 8}, THERE, True) and "prepared in" in need.text
  data.path = str(tmp_path / "nowhere")
  counts, need, _ = data_needs(data)
  assert (counts, need.state) == (None, MISSING) and "nowhere does not exist" in need.text
  (tmp_path / "empty").mkdir()
  data.path = str(tmp_path / "empty")
  assert data_needs(data)[1].state == MISSING and "no images" in data_needs(data)[1].text
  data.update(source="sample", path="")
  counts, need, _ = data_needs(data)
  assert need.state == THERE and counts["train"] > counts["val"] > 0
  data.source = "web"
  with pytest.raises(UserError, match=r"data\.source='web'"):
    data_needs(data)


def test_weights_that_are_there_or_missing(tiny_config, tmp_path):
  tiny_config.data.cache_dir = str(tmp_path)
  evaluation = tiny_config.eval

  def states(**fields):
    evaluation.update(feature_extractor="inception", feature_weights="", lpips_weights="", num_examples=8)
    evaluation.update(fields)
    return {need.name: need.state for need in evaluation_needs(tiny_config, {"train": 24, "val": 8})}

  features, lpips = "feature weights", "LPIPS weights"
  file = tmp_path / "weights.npz"
  assert states() == {features: DOWNLOAD, lpips: LEFT_OUT}
  assert states(feature_weights=str(file)) == {features: MISSING, lpips: LEFT_OUT}
  assert states(feature_extractor="pixels", lpips_weights=str(file)) == {lpips: MISSING}
  assert states(feature_extractor="squeezenet") == {features: LEFT_OUT, lpips: LEFT_OUT}
  assert states(feature_extractor="squeezenet", feature_weights=str(file)) == {features: MISSING}
  file.write_bytes(b"")
  assert states(feature_extractor="squeezenet", feature_weights=str(file)) == {features: THERE}
  cached = inception_weights.cached_path(tmp_path)
  cached.parent.mkdir()
  cached.write_bytes(b"")
  assert states() == {features: THERE, lpips: LEFT_OUT}
  assert states(num_examples=9)["evaluation"] == MISSING
  with pytest.raises(UserError, match=r"eval\.feature_extractor 'dreams'"):
    states(feature_extractor="dreams")


def test_the_disk_has_room_for_all_checkpoints_that_stay():
  """Of 30,000 steps, one each 3,000: the three newest; of milestones each 6,000 two are among them."""
  config = load("sr16")
  config.unlock()
  config.train.num_steps = 30_000
  assert planning._num_checkpoints(config) == 3
  config.train.milestone_every_steps = 6_000
  assert planning._num_checkpoints(config) == 6  # 6, 12, 18, 24, 27, 30 thousand
  config.eval.every_steps = 1_000
  assert planning._num_checkpoints(config) == 6
  config.eval.best_by = "robustness_db"
  assert planning._num_checkpoints(config) == 7
  config.train.update(num_steps=3_000, milestone_every_steps=0)
  assert planning._num_checkpoints(config) == 2


def test_a_disk_that_is_too_small_is_named(tmp_path):
  assert disk_need("checkpoints", 1000, tmp_path / "a" / "b").state != MISSING
  assert disk_need("checkpoints", 10**18, tmp_path / "a" / "b").state == MISSING


@pytest.mark.parametrize(
  ("kind", "name"),
  [("TPU v5 lite", "tpu-v5e"), ("TPU v5p", "tpu-v5p"), ("TPU v6 lite", "tpu-v6e"), ("NVIDIA H100 80GB HBM3", "h100"),
   ("NVIDIA A100-SXM4-40GB", "a100"), ("NVIDIA H200", "h200")],
)  # fmt: skip
def test_an_accelerator_is_recognised(kind, name):
  assert text.known_target(kind).name == name


def test_an_accelerator_here_is_planned_for(config, work, monkeypatch, tmp_path):
  @dataclasses.dataclass
  class Device:
    device_kind: str
    platform: str = "gpu"

    def memory_stats(self):
      return {"bytes_limit": 5_000_000_000}

  monkeypatch.setattr(planning, "StepWork", lambda config: work)
  monkeypatch.setattr(text.jax, "devices", lambda: [Device("NVIDIA H100 80GB HBM3")])
  monkeypatch.setattr(text.jax, "device_count", lambda: 2)
  shown = text.command(config, None, tmp_path / "run")
  assert "2 x NVIDIA H100" in shown and "of 5.00 GB that a run can have: fits" in shown
  monkeypatch.setattr(text.jax, "devices", lambda: [Device("NVIDIA GeForce RTX 4090")])
  shown = text.command(config, None, tmp_path / "run")
  assert "RTX 4090 is no target that is known" in shown and all(f"\n{name} " in shown for name in targets.TARGETS)


def test_the_command_prints_and_leaves_nothing(tmp_path):
  """Without TensorFlow, too: importing this one ends the process."""
  (tmp_path / "modules").mkdir()
  for name in ("tensorflow", "tensorflow_datasets"):
    (tmp_path / "modules" / f"{name}.py").write_text("import os\nos._exit(3)\n")
  folder = tmp_path / "empty"
  folder.mkdir()
  result = run(
    "--mode=plan", "--target=tpu-v5e", f"--workdir={folder / 'run'}", f"--config.data.cache_dir={folder / 'cache'}",
    "--config.data.source=tfds", f"--config.data.path={folder / 'tfds'}", config="tests/tiny.py:deterministic-erratic",
    env={"PYTHONPATH": str(tmp_path / "modules"), "HOME": str(folder)},
  )  # fmt: skip
  assert result.returncode == 0, result.stderr
  for part in (
    "1 x TPU v5e; batch 8, float32", "[estimate of the compiler]", "fits",
    "to download: TFDS downloads celeb_a (1.5 GB",
    "missing", "temporaries", "device-hours",
  ):  # fmt: skip
    assert part in result.stdout, result.stdout
  assert "robust" not in result.stdout.split("\n")[2]
  assert not list(folder.iterdir())


def test_mistakes_on_the_command_line_are_one_line(photographs):
  assert_one_line(run("--mode=plan", "--target=tpu-v9", path=photographs), "tpu-v9", "tpu-v5e")
  assert_one_line(run("--target=h100", path=photographs), "--target belongs to --mode=plan")
