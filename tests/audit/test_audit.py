"""The audit of functions whose numbers are known by hand."""

import dataclasses
import json
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.audit import Auditor, Pictures, Protocol, audit, joint_index, summary
from prt_jax.data.image_pairs import Pair
from prt_jax.degradations import make_degradation
from prt_jax.errors import UserError
from prt_jax.evaluation.store import Store
from prt_jax.metrics import psnr_y
from prt_jax.reporting.audit_report import render
from prt_jax.restorers.bicubic import bicubic_downsample, bicubic_upsample
from prt_jax.restorers.restorer import Restorer, as_restorer
from prt_jax.restorers.torch_adapter import TorchRestorer
from tests.attacks.test_attacks import compilations

QUICK = {"alphas": (0.01, 0.04), "num_steps": 5, "num_jacobian_steps": 3}


def test_the_same_pixels_as_original_and_as_measurement_are_two_audits(tmp_path):
  """Where both have one size: what was kept of a noisy measurement of an image is not that of the image itself."""
  degradation = make_degradation({"kind": "denoising", "noise_std": 0.2}, 12)
  restorer = Restorer("identity", lambda params, y, z: y, degradation=degradation, identity="identity")
  image = np.full((12, 12, 3), 0.5, np.float32)
  protocol = Protocol((0.04,), 1, 0, num_jacobian_steps=0)

  def seen(**pair):
    auditor = Auditor(restorer, protocol, store=Store(tmp_path))
    (image,) = auditor.audit([Pair("a", **pair)])
    return image["measured_range"]

  low, high = seen(x=image, y=None)
  assert low < 0.3 and high > 0.7
  assert seen(x=None, y=image) == [0.5, 0.5]


def upsample(y):
  return y.repeat(2, 1).repeat(2, 2)


def block_mean(x):
  batch, height, width, channels = x.shape
  return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


@pytest.fixture(scope="module")
def y():
  return np.random.default_rng(0).uniform(0.2, 0.8, size=(2, 10, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def report(y):
  return audit(upsample, y, x=upsample(y) + 0.1, degrade=block_mean, **QUICK)


def test_replication_has_lipschitz_constant_two(report):
  assert 1.999 < report["lipschitz_lower_bound"] <= 2 + 1e-4
  assert report["images"][0]["lipschitz_from_jacobian"] == pytest.approx(2, rel=1e-3)
  assert report["images"][1]["lipschitz_from_attacks"] == pytest.approx(2, rel=1e-3)


def test_replication_changes_as_much_as_its_input(report):
  assert [point["alpha"] for point in report["robustness"]] == [0.01, 0.04]
  for point in report["robustness"]:
    assert point["output_psnr_db"] == pytest.approx(point["input_psnr_db"], abs=1e-3)
    assert point["input_psnr_db"] == pytest.approx(-20 * np.log10(point["alpha"]), abs=0.5)


def test_distortion_and_consistency_by_hand(report):
  # 0.1 in all channels is (65.481 + 128.553 + 24.966) / 255 * 0.1 = .0859 in luma, up to 8-bit rounding.
  assert report["psnr_y_db"] == pytest.approx(-20 * np.log10(0.0859), abs=0.1)
  assert report["consistency_db"] == 100
  assert report["consistency_db_num_exact"] == 2
  assert report["per_pixel_std"] == 0
  assert not report["stochastic"]


def test_the_report_is_json(report):
  assert json.loads(json.dumps(report))["num_images"] == 2


def test_without_originals_and_degradation_what_is_unknown_is_none(y):
  report = audit(upsample, list(y), **QUICK)
  assert report["psnr_y_db"] is None
  assert report["consistency_db"] is None
  assert report["joint_index"] is None


def test_images_of_several_sizes(y):
  report = audit(upsample, [y[0], y[1][:6]], **QUICK)
  assert report["num_images"] == 2


def test_a_stochastic_restorer(y):
  def restore(y, z):
    return upsample(y) + z

  def draw_noise(keys, shape, num_seeds):
    draw = jax.vmap(lambda key: 0.1 * jax.random.normal(key, (num_seeds, 20, 16, 3)), out_axes=1)
    return draw(keys)

  report = audit(restore, y, draw_noise=draw_noise, num_seeds=8, degrade=block_mean, **QUICK)
  assert report["stochastic"]
  assert report["per_pixel_std"] == pytest.approx(0.1, rel=0.1)
  # The same Z on both sides: the noise does not count as a change.
  assert report["lipschitz_lower_bound"] == pytest.approx(2, rel=1e-3)
  assert report["consistency_db"] == pytest.approx(-20 * np.log10(0.05), abs=1)
  # What either attack does to the distribution stands in the table; the summary's number is the stronger one's.
  page = render(report, [Pictures(None, y[0], y[0], [])] * 2)
  for field in ("robustness", "robustness_strong"):
    assert f'<td class="number">{report[field][1]["w1"]:.4f}</td>' in page
  assert page.count("W1, RMSE</th>") == 1 and page.count(">stronger</td>") == 2


def test_noise_is_compared_with_the_residual(y):
  report = audit(upsample, y, degrade=lambda x: block_mean(x) + 0.02, noise_std=0.01, **QUICK)
  assert report["residual_over_noise"] == pytest.approx(4, rel=1e-3)


def test_restarts_keep_the_strongest(y):
  def wavy(y):
    return jnp.sin(60 * upsample(y))

  fields = {"alphas": (0.05,), "num_steps": 2, "num_strong_steps": 0, "num_jacobian_steps": 0}
  weak, strong = (audit(wavy, y[:1], num_restarts=number, **fields)["robustness"][0] for number in (1, 4))
  assert strong["output_psnr_db"] <= weak["output_psnr_db"]


def test_an_audit_in_l2_finds_the_largest_singular_value_at_every_size(y):
  """Gains of .25, .375 and .75 a channel: nothing within the bound moves the picture by more than .75 of itself."""
  gains = jnp.array([0.5, 0.75, 1.5])
  report = audit(
    lambda y: gains * y / 2 + 0.2, [y[0], y[1][:6]], alphas=(0.005, 0.02), norm="L2", num_steps=20, num_jacobian_steps=3
  )
  strong, papers = report["robustness_strong"], report["robustness"]
  for point, weaker in zip(strong, papers, strict=True):
    expected = -20 * np.log10(point["alpha"])
    assert point["input_psnr_db"] == pytest.approx(expected, abs=1e-3)
    assert point["output_psnr_db"] == pytest.approx(expected - 20 * np.log10(0.75), abs=0.02)
    assert weaker["input_psnr_db"] >= expected - 1e-3
    assert weaker["output_psnr_db"] > point["output_psnr_db"] + 0.5  # Adam's last iterate
  assert report["curves"].keys() == {"search", "strong_l2"} and report["protocol"]["norm"] == "L2"
  page = render(report, [Pictures(None, y[0], y[0], [])] * 2)
  assert "a root mean square of at most alpha" in page and "paper A&#39;s inner search with 20 steps" in page
  with pytest.raises(UserError, match="norm=l1 is none of sup, L2"):
    Protocol(norm="l1")


def one_after_the_other(y):
  """A row of pixels moves the picture once the row above has been moved by nine tenths of .1: a row a step at best."""
  delta = y - 0.5
  moved = jnp.mean(jnp.abs(delta), (2, 3)) / 0.1
  gates = jnp.concatenate([jnp.ones_like(moved[:, :1]), jnp.clip(20 * moved[:, :-1] - 17, 0, 1)], 1)
  return 0.5 + jnp.cumprod(gates, 1)[:, :, None, None] * delta


@pytest.mark.parametrize(("num_strong_steps", "ended"), [(3, False), (60, True)])
def test_twice_the_steps_say_whether_the_stronger_attack_had_ended(num_strong_steps, ended):
  report = audit(
    one_after_the_other, np.full((3, 12, 8, 3), 0.5, np.float32), alphas=(0.1,), num_steps=1,
    num_strong_steps=num_strong_steps, num_jacobian_steps=0,
  )
  twice = report["twice_the_steps"]
  assert (twice["alpha"], twice["num_images"]) == (0.1, 2)
  assert any("had not come to its end" in remark for remark in report["remarks"]) != ended
  assert twice["gain_db_maximum"] >= twice["gain_db"]
  if ended:  # all rows are at their ends
    assert report["robustness_strong"][0]["output_psnr_db"] == pytest.approx(20, abs=0.1)
    assert twice["gain_db"] == pytest.approx(0, abs=0.1)
  pictures = [Pictures(None, np.zeros((12, 8, 3)), np.zeros((12, 8, 3)), [])] * 3
  assert "(2 of the images were tried)" in render(report, pictures)


@pytest.mark.parametrize(
  ("restore", "part"),
  [
    (lambda y: y[0], "returns shape"),
    (lambda y: y.mean(-1), "returns shape"),
    (lambda y: y / 0 * 0, "returns NaN"),
    (lambda y: None, "returns NoneType"),
    (lambda y: (255 * y).astype(jnp.uint8), "returns uint8"),
    (lambda y: jnp.round(64 * y) / 64, "gradient is zero although its output changes"),
    (lambda y: jnp.sqrt(jnp.maximum(y, 1)) * jnp.sqrt(0 * y), "gradient is NaN"),
    (lambda y: jnp.reshape(y, (1, 2)), r"fails on a measurement .*TypeError: .*test_audit\.py:\d+\)$"),
    (np.fft.fft2, "fails on a measurement .*TracerArrayConversionError"),
    (lambda y: np.asarray(y) / 2, "computes in numpy, which has no gradients"),
    (lambda y, z: y, "give draw_noise"),
    ("imdn", "no restorer"),
  ],
)
def test_a_bad_function_is_one_clear_line(restore, part, y):
  with pytest.raises(UserError, match=part) as error:
    audit(restore, y, **QUICK)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("arguments", "part"),
  [
    ({"alphas": ()}, "alphas"), ({"alphas": (0.0,)}, "alphas"), ({"num_steps": 0}, "num_steps"),
    ({"x": np.zeros((3, 4, 4, 3))}, "2 measurements and 3 originals"),
    ({"degrade": lambda x: x}, "degrade returns shape"),
    ({"y": np.full((4, 4, 3), 0.5)}, r"has shape \(4, 3\): give y as \[B,h,w,3\]"),
    ({"y": np.full((1, 4, 4, 3), 2.0)}, "pixels reach from 2 to 2"),
  ],
)
def test_bad_arguments_are_named(arguments, part, y):
  with pytest.raises(UserError, match=part):
    audit(upsample, **{"y": y, **QUICK, **arguments})


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_a_restorer_in_half_precision_is_audited(y, dtype):
  """Three tenths of y: the slope, but for the steps of its 16 bits; attacks' gradients do not overflow."""
  report = audit(lambda y: (0.3 * y).astype(dtype), y, alphas=(16 / 255,), num_steps=3, num_jacobian_steps=3)
  assert report["images"][0]["lipschitz_from_attacks"] == pytest.approx(0.3, rel=0.05)


def test_a_constant_restorer_is_robust(y):
  report = audit(lambda y: jnp.ones_like(y) / 2, y, **QUICK)
  assert report["lipschitz_lower_bound"] == 0
  assert report["robustness"][0]["output_psnr_db"] == 100
  assert report["robustness"][0]["output_psnr_db_num_exact"] == 2


def test_what_rounding_hides_is_no_missing_gradient(y):
  """About .5 a slope of 1e-7 moves an output by its last bit or not at all."""
  report = audit(lambda y: 0.5 + 1e-7 * y, y, **QUICK)
  assert report["lipschitz_lower_bound"] <= 1e-7
  assert report["robustness"][0]["output_psnr_db"] == 100


def test_an_exact_image_does_not_hide_the_others():
  """Of four images one is restored exactly; the others are off by known steps of grey."""
  steps = [0, 1, 2, 4]  # of 255
  y = np.full((4, 16, 16, 3), 0.4, np.float32)
  x = np.stack([image + step / 255 for image, step in zip(upsample(y), steps, strict=True)])
  report = audit(upsample, y, x=x, **QUICK)
  luma = (65.481 + 128.553 + 24.966) / 255
  values = [100, *(-20 * np.log10(luma * step / 255) for step in steps[1:])]
  assert [image["psnr_y_db"] for image in report["images"]] == pytest.approx(values, abs=1e-3)
  assert report["psnr_y_db"] == pytest.approx(np.mean(values), abs=1e-3)
  assert report["psnr_y_db_median"] == pytest.approx((values[1] + values[2]) / 2, abs=1e-3)
  assert report["psnr_y_db_minimum"] == pytest.approx(values[3], abs=1e-3)
  assert report["psnr_y_db_num_exact"] == 1
  page = render(report, [Pictures(x[0], y[0], x[0], [(0.01, y[0], x[0])])] * 4)
  assert "exact: 1 of 4, as 100 dB" in page
  assert "inf" not in json.dumps(report) and "&infin;" not in page


def coarse(height=16, width=16, count=2):
  """Smooth pictures, which bicubic interpolation restores well, with their measurements."""
  x = jax.image.resize(jax.random.uniform(jax.random.key(0), (count, 4, 4, 3)), (count, height, width, 3), "cubic")
  x = np.asarray(x).clip(0, 1)
  return x, np.asarray(bicubic_downsample(x, 2)).clip(0, 1)


def in_units(low, high, returned=None):
  """Bicubic interpolation between pixels of other ranges."""
  returned_low, returned_high = returned or (low, high)

  def restore(y):
    x = bicubic_upsample((y - low) / (high - low), 2)
    return returned_low + (returned_high - returned_low) * x

  return restore


@pytest.mark.parametrize(
  ("pixel_range", "taken", "returned"),
  [
    ("-1..1", (-1, 1), None), ("0..255", (0, 255), None), ("0..1,-1..1", (0, 1), (-1, 1)),
    ("0..255,0..1", (0, 255), (0, 1)),
  ],
)
def test_restorers_of_other_ranges(pixel_range, taken, returned):
  x, y = coarse()
  degrade = lambda x: bicubic_downsample(x, 2)  # noqa: E731
  expected = audit(in_units(0, 1), y, x=x, degrade=degrade, **QUICK)
  assert expected["remarks"] == []
  assert expected["psnr_y_db"] == pytest.approx(expected["bicubic_psnr_y_db"], abs=0.05)
  found = audit(in_units(*taken, returned), y, x=x, degrade=degrade, pixel_range=pixel_range, **QUICK)
  assert found["range"] == pixel_range and expected["range"] == "0..1"
  for name in ("psnr_y_db", "consistency_db", "lipschitz_lower_bound", "restored_range", "remarks"):
    assert found[name] == pytest.approx(expected[name], rel=1e-2) if found[name] else found[name] == expected[name]
  if returned is None:  # scaling in and out again changes nothing about a linear restorer
    return
  wrong = audit(in_units(*taken, returned), y, x=x, degrade=degrade, **QUICK)
  assert any("--range" in remark and "where black is 0 and white 1" in remark for remark in wrong["remarks"])
  page = render(wrong, [Pictures(x[0], y[0], x[0], [(0.01, y[0], x[0])])] * 2)
  assert "<b>Remark:</b>" in page and "Bicubic interpolation has" in page


def test_a_range_of_a_pytorch_restorer():
  torch = pytest.importorskip("torch")
  _, y = coarse()
  restorer = TorchRestorer(lambda y: torch.nn.functional.interpolate(y / 255, scale_factor=2) * 2 - 1)
  report = audit(restorer, y, pixel_range="0..255,-1..1", **QUICK)
  assert report["lipschitz_lower_bound"] == pytest.approx(2, rel=1e-2)
  assert report["remarks"] == []


def test_what_is_seen_without_originals():
  _, y = coarse()
  report = audit(lambda y: 2 * upsample(y) - 1, y, **QUICK)
  assert report["restored_range"] == pytest.approx([2 * y.min() - 1, 2 * y.max() - 1], abs=1e-6)
  assert "reach from" in report["remarks"][0]
  # Between 0 and 1, but no picture of its measurement.
  report = audit(lambda y: upsample(y) / 255, y, degrade=block_mean, **QUICK)
  assert "agree with their measurements" in report["remarks"][0]


@pytest.mark.parametrize("pixel_range", ["0..2", "x", "0..1,0..1,0..1", "-1..1,0..3"])
def test_a_range_that_is_none(pixel_range):
  with pytest.raises(UserError, match=r"is none of 0\.\.1, -1\.\.1, 0\.\.255"):
    audit(upsample, np.zeros((1, 4, 4, 3), np.float32), pixel_range=pixel_range)


def test_nothing_to_audit():
  with pytest.raises(UserError, match="nothing to audit"):
    audit(upsample, [])


@pytest.mark.parametrize("border", [0, 3, 4])
def test_psnr_y_by_hand(border):
  reference = np.full((20, 20, 3), 100 / 255)
  other = reference.copy()
  if border:
    other[:border] = other[:, -border:] = 0  # the border does not count
  assert psnr_y(other, reference, border) == 100
  other[10, 10] = [101 / 255, 100 / 255, 100 / 255]
  error = (65.481 / 255 / 255) ** 2 / (20 - 2 * border) ** 2
  assert psnr_y(other, reference, border) == pytest.approx(-10 * np.log10(error), abs=1e-6)
  other[border, -border - 1] = 0
  assert psnr_y(other, reference, border) < 60  # the first pixel inside does
  with pytest.raises(UserError, match="has shape"):
    psnr_y(other[:10], reference, border)


def test_the_border_is_the_scale(y):
  def enlarge(scale):
    return lambda y: y.repeat(scale, 1).repeat(scale, 2)

  for scale in (1, 2, 3):
    x = enlarge(scale)(y) + 0.1
    report = audit(enlarge(scale), y, x=x, **QUICK)
    assert report["border"] == [{1: 0}.get(scale, scale)]
    assert report["psnr_y_db"] == pytest.approx(
      np.mean([psnr_y(enlarge(scale)(y)[index], x[index], {1: 0}.get(scale, scale)) for index in (0, 1)])
    )
  changed = enlarge(3)(y)
  changed[:, :3] = 0
  assert audit(enlarge(3), y, x=changed, border=2, **QUICK)["psnr_y_db"] < 30
  assert audit(enlarge(3), y, x=changed, border=3, **QUICK)["psnr_y_db"] > 99
  restorer = dataclasses.replace(as_restorer(enlarge(2)), image_size=16)
  assert audit(restorer, y[:, :8], x=enlarge(2)(y[:, :8]), **QUICK)["border"] == [0]


def test_an_image_that_is_all_border_is_one_line():
  y = np.full((1, 2, 2, 3), 0.5, np.float32)
  arguments = {"x": y.repeat(4, 1).repeat(4, 2), **QUICK}
  with pytest.raises(UserError, match="a border of 4 pixels, which is all of an image of 8x8: take less"):
    audit(lambda y: y.repeat(4, 1).repeat(4, 2), y, **arguments)
  assert audit(lambda y: y.repeat(4, 1).repeat(4, 2), y, border=0, **arguments)["psnr_y_db"] > 99
  with pytest.raises(UserError, match="border=-1"):
    audit(upsample, y, border=-1)


def test_joint_index_is_zero_for_the_truth_and_sees_blur_and_inconsistency():
  rng = np.random.default_rng(0)
  x = rng.uniform(size=(240, 240, 3)).astype(np.float32)
  y = np.asarray(block_mean(x[None]))[0]

  def index(restored):
    return joint_index([Pictures(x, y, restored, [])])["value"]

  assert index(x) < 1e-6
  assert index(np.asarray(upsample(y[None]))[0]) > 1
  # Other noise of the same statistics: only the joint distribution differs.
  assert index(rng.uniform(size=x.shape).astype(np.float32)) > 1
  assert joint_index([Pictures(x[:64, :64], y[:32, :32], x[:64, :64], [])]) is None  # too few patches


def test_protocol_defaults_are_the_papers():
  protocol = Protocol()
  assert [round(255 * alpha) for alpha in protocol.alphas] == [1, 2, 4, 8, 16, 32]
  assert (protocol.num_steps, protocol.num_seeds) == (50, 10)


def numpy_noise(y):
  return y + 0.1 * np.random.default_rng().normal(size=y.shape).astype(np.float32)


def host_noise(y):
  draw = lambda: 0.1 * np.random.default_rng().normal(size=y.shape).astype(np.float32)  # noqa: E731
  return y + jax.pure_callback(draw, jax.ShapeDtypeStruct(y.shape, jnp.float32), vmap_method="sequential")


def random_gain(y):
  return random.random() * y


class Counter:
  def __init__(self):
    self.calls = 0

  def __call__(self, y):
    self.calls += 1
    return y + 0.01 * self.calls


class OwnKey:
  """Keeps a key that it splits at each call, which a trace cannot follow."""

  def __init__(self):
    self.key = jax.random.key(0)

  def __call__(self, y):
    self.key, key = jax.random.split(self.key)
    return y + jax.random.normal(key, y.shape)


def torch_noise():
  torch = pytest.importorskip("torch")
  return TorchRestorer(lambda y: y + 0.1 * torch.randn(y.shape))


def torch_dropout():
  torch = pytest.importorskip("torch")
  return TorchRestorer(torch.nn.Dropout(0.5).__call__)


@pytest.mark.parametrize("kind", [numpy_noise, host_noise, random_gain, Counter, OwnKey, torch_noise, torch_dropout])
def test_a_restorer_with_noise_of_its_own_is_refused(kind, y):
  restorer = kind if kind.__name__ in ("numpy_noise", "host_noise", "random_gain") else kind()
  part = "changes a state of its own" if kind is OwnKey else "different outputs for one input.*draw_noise"
  with pytest.raises(UserError, match=part) as error:
    audit(restorer, y, **QUICK)
  assert "\n" not in str(error.value)


def test_noise_is_refused_beside_draw_noise_too(y):
  def draw_noise(keys, shape, num_seeds):
    return jnp.zeros((num_seeds, len(keys), 1, 1, 1))

  with pytest.raises(UserError, match="different outputs for one input"):
    audit(lambda y, z: numpy_noise(y) + z, y, draw_noise=draw_noise, **QUICK)


def test_images_of_one_shape_need_one_program(y):
  with compilations() as compiled:
    audit(lambda y: 7 * jnp.sin(upsample(y)), [y[0], y[0, :8], y[1], y[1, :8]], **QUICK)
  for name in ("restore", "gradient"):
    assert compiled.count(f"jit({name})") == 2


def test_images_of_one_shape_go_over_all_devices_and_need_no_more_programs(y):
  expected = audit(lambda y: 5 * jnp.sin(upsample(y)), np.concatenate([y, y]), **QUICK)
  with compilations() as compiled:
    report = audit(lambda y: 5 * jnp.sin(upsample(y)), np.concatenate([y, y, y]), **QUICK)
  assert not [name for name in compiled if name in ("jit(_fun)", "jit(restore)")]
  assert report["num_images"] == 6
  for ours, theirs in zip(report["images"], expected["images"], strict=False):
    assert ours == theirs


def test_the_joint_indexs_interval_is_a_jackknife_over_pictures(monkeypatch):
  """Of a mean in its place it is the mean's own: 1, 2, 3, 6 have s = 2.160, a standard error of 1.080, t = 3.182."""
  monkeypatch.setattr(summary, "joint_index", lambda pictures: {"value": np.mean([p.measurement for p in pictures])})
  pictures = [Pictures(None, np.float64(value), None, []) for value in (1, 2, 3, 6)]
  found = summary.joint_index_interval(pictures, 3.0)
  assert found["interval"] == pytest.approx([0.0, 3 + 3.4373], abs=1e-3)  # no distance is negative
  assert found["interval_kind"] == "95% jackknife over 4 groups of images"
  assert summary.joint_index_interval(pictures, 10.0)["interval"] == pytest.approx([6.5627, 13.4373], abs=1e-3)
  assert summary.joint_index_interval(pictures[:1], 1.0) == {}
  monkeypatch.setattr(summary, "joint_index", lambda pictures: None)  # too few patches without one
  assert summary.joint_index_interval(pictures, 3.0) == {}
