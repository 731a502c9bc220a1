"""Features of a user's own, by name: functions, PyTorch's, and Extractors that say what their distances are called."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from prt_jax.audit import audit
from prt_jax.errors import UserError
from prt_jax.features import make_extractor
from prt_jax.metrics.kernel_distance import gaussian_discrepancy

MODULE = """
import numpy as np
from prt_jax.features import Extractor

def means(images):
  return images.mean((1, 2))

def untraced(images):
  assert type(images) is np.ndarray and images.dtype == np.float32
  return images.mean((1, 2))
untraced.eager = True

CLIP = Extractor("CLIP", "FD_CLIP", 3, {}, lambda params, images: images.mean((1, 2)) / 255, rounds=False,
                 kernel="gaussian", kernel_name="CMMD")
number = 3

def flat(images):
  return images.mean()
"""


@pytest.fixture
def named(tmp_path, monkeypatch):
  (tmp_path / "users_features.py").write_text(MODULE)
  monkeypatch.syspath_prepend(str(tmp_path))
  return lambda name: make_extractor(
    ConfigDict({"feature_extractor": f"users_features:{name}", "feature_weights": ""}), tmp_path
  )


@pytest.mark.parametrize("name", ["means", "untraced"])
def test_a_function(named, name):
  extractor = named(name)
  images = np.full((2, 4, 4, 3), 0.5, np.float32)
  np.testing.assert_allclose(extractor(images), np.full((2, 3), 128 / 255), rtol=1e-6)  # rounded to 8 bits
  assert extractor.distance_name == f"Frechet distance, users_features:{name} features"
  assert len(extractor.version) == 16


@pytest.mark.parametrize("name", ["untraced", "CLIP"])
def test_an_audit_in_them(named, name):
  rng = np.random.default_rng(0)
  y = rng.uniform(size=(6, 4, 4, 3)).astype(np.float32)
  x = rng.uniform(size=(6, 4, 4, 3)).astype(np.float32)
  results = audit(
    lambda y: y, y, x=x, extractor=named(name), alphas=(0.01,), num_steps=1, num_strong_steps=0, num_jacobian_steps=0,
    min_images=4,
  )["results"]  # fmt: skip
  distance = results["kernel_distance"]
  if name == "CLIP":
    assert (results["frechet"]["label"], distance["label"]) == ("FD_CLIP", "CMMD")
    assert distance["value"] == pytest.approx(gaussian_discrepancy(y.mean((1, 2)), x.mean((1, 2))), rel=1e-3)
  else:
    assert distance["label"] == "kernel distance, users_features:untraced features"


@pytest.mark.parametrize(("name", "part"), [("number", "is neither a function"), ("nothing", "has no 'nothing'")])
def test_what_is_none(named, name, part):
  with pytest.raises(UserError, match=part):
    named(name)


def test_what_returns_no_features(named):
  with pytest.raises(UserError, match=r"returns shape \(\): it must return features \[B,D\]"):
    named("flat")(np.zeros((2, 4, 4, 3), np.float32))
