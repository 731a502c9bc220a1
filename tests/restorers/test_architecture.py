"""Loading of checkpoints: the first tensor that does not fit is named, code is refused, wrappers are seen through."""

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.restorers import load_network
from prt_jax.restorers.networks.architecture import check_state, conv_shapes, to_params
from prt_jax.restorers.networks.compact import COMPACT


def compact_state(width=4, scale=4):
  shapes = conv_shapes("body.0", width, 3) | {"body.1.weight": (width,)} | conv_shapes("body.2", 3 * scale**2, width)
  return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


def test_a_fitting_state_passes():
  check_state(COMPACT, compact_state(), 4, "w.pth")


@pytest.mark.parametrize(
  ("change", "parts"),
  [
    (lambda s: s.pop("body.1.weight"), ["w.pth is not Real-ESRGAN compact x4", "no tensor body.1.weight (4,)"]),
    (lambda s: s.update({"body.2.bias": np.ones(7)}), ["body.2.bias has shape (7,) instead of (48,)"]),
    (lambda s: s.update({"head.weight": np.ones((2, 2))}), ["holds head.weight (2, 2)"]),
  ],
)
def test_the_first_mismatch_is_named(change, parts):
  state = compact_state()
  change(state)
  with pytest.raises(UserError) as error:
    check_state(COMPACT, state, 4, "w.pth")
  for part in parts:
    assert part in str(error.value)


def test_another_scale_is_a_mismatch():
  with pytest.raises(UserError, match=r"body\.2\.weight has shape \(48, 4, 3, 3\) instead of \(12, 4, 3, 3\)"):
    check_state(COMPACT, compact_state(), 2, "w.pth")


def test_kernels_become_height_width_in_out():
  kernel = np.arange(24.0).reshape(4, 3, 1, 2)
  params = to_params({"a.weight": kernel, "a.bias": np.arange(4.0)})
  assert params["a.weight"].shape == (1, 2, 3, 4)
  assert params["a.weight"][0, 1, 2, 3] == kernel[3, 2, 0, 1]
  np.testing.assert_array_equal(params["a.bias"], np.arange(4))


@pytest.fixture
def torch():
  return pytest.importorskip("torch", reason="checkpoints are written by PyTorch: pip install -r requirements-test.txt")


def save(torch, state, path):
  torch.save({name: torch.from_numpy(np.asarray(array)) for name, array in state.items()}, path)
  return path


def test_a_checkpoint_of_another_architecture_is_refused(torch, tmp_path):
  path = save(torch, compact_state(), tmp_path / "compact.pth")
  firsts = {"imdn": "fea_conv.weight", "srgan": "block1.0.weight", "srflow": "RRDB.conv_first.weight"}
  for name, missing in firsts.items():
    with pytest.raises(UserError) as error:
      load_network(name, path, 4)
    assert f"it has no tensor {missing}" in str(error.value)
    assert "its first tensor is body.0.weight (4, 3, 3, 3)" in str(error.value)


def test_data_parallel_names_and_step_counters_are_seen_through(torch, tmp_path):
  state = {f"module.{name}": array for name, array in compact_state().items()}
  state["module.body.1.num_batches_tracked"] = np.int64(3)
  assert load_network("compact", save(torch, state, tmp_path / "w.pth"), 4).name == "Real-ESRGAN compact"


@pytest.mark.parametrize("prefix", ["model.", "_orig_mod.", "generator.", "module._orig_mod.", "anything.net_g."])
def test_a_network_inside_something_else_is_found(torch, tmp_path, prefix):
  state = {f"{prefix}{name}": array for name, array in compact_state().items()}
  assert load_network("compact", save(torch, state, tmp_path / "w.pth"), 4).name == "Real-ESRGAN compact"
  state |= {"discriminator.body.0.weight": np.ones((2, 3, 3, 3)), "loss.mean": np.ones(3)}
  assert load_network("compact", save(torch, state, tmp_path / "gan.pth"), 4).name == "Real-ESRGAN compact"
  state |= {f"ema.{name}": array for name, array in state.items() if name.startswith(prefix)}
  path = save(torch, state, tmp_path / "ema.pth")
  with pytest.raises(UserError, match=r"choose one \(--checkpoint_key\)"):
    load_network("compact", path, 4)
  load_network("compact", path, 4, key="ema")


def test_a_wrapped_network_of_another_scale_is_named_without_its_wrapper(torch, tmp_path):
  state = {f"generator.{name}": array for name, array in compact_state().items()}
  with pytest.raises(UserError, match=r"its body\.2\.weight has shape \(48, 4, 3, 3\) instead of \(12, 4, 3, 3\)"):
    load_network("compact", save(torch, state, tmp_path / "w.pth"), 2)


def test_a_checkpoint_that_would_run_code_is_refused(torch, tmp_path):
  class Payload:
    def __reduce__(self):
      return print, ("executed",)

  path = tmp_path / "bad.pth"
  torch.save({"body.0.weight": Payload()}, path)
  with pytest.raises(UserError, match="could run code"):
    load_network("compact", path, 4)


@pytest.mark.parametrize(
  ("name", "checkpoint", "scale", "part"),
  [
    ("imdn", None, 4, "--checkpoint=FILE"),
    ("bicubic", "w.pth", 4, "no weights"),
    ("imdn", "w.pth", 8, "it is ported for x2, x3, x4"),
    ("rrdbnet", "w.pth", 2, "it is ported for x4"),
    ("imdn", "absent.pth", 4, "does not exist"),
  ],
)
def test_what_cannot_be_loaded_says_so(name, checkpoint, scale, part):
  with pytest.raises(UserError) as error:
    load_network(name, checkpoint, scale)
  assert part in str(error.value)
