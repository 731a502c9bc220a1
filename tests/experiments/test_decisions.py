"""Decisions: counts and intervals by hand, labels in the images' order, what can be steered and what cannot."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import decisions, face_classifier
from prt_jax.degradations.inpainting import Inpainting
from prt_jax.errors import UserError
from prt_jax.restorers import Restorer

MASKED = Inpainting(0.0, 16)
ROWS = 12  # that are masked


def classify(x):
  """Bright or dark, by the masked rows alone."""
  brightness = x[:, :ROWS].mean((1, 2, 3)) - 0.5
  return jnp.stack([-brightness, brightness], -1)


def restorer(gain):
  """The masked rows are as bright as the visible ones, their distance from grey times gain."""

  def apply(params, y, z):
    grey = 0.5 + gain * (y.mean((1, 2, 3), keepdims=True) - 0.5)
    return MASKED.project(jnp.broadcast_to(grey, (len(y), 16, 16, 3)), y)

  return Restorer("toy", apply, degradation=MASKED)


def faces():
  levels = np.linspace(0.46, 0.54, 6)  # half are dark
  return np.broadcast_to(levels[:, None, None, None], (6, 16, 16, 3)).astype(np.float32)


def test_only_what_answers_the_measurement_is_steered(monkeypatch):
  monkeypatch.setattr(decisions, "NUM_STEPS", 10)
  labels = np.array([0, 0, 0, 1, 1, 0])  # the last is not as bright as it looks
  found = decisions.measure(restorer(1.0), classify, faces(), labels, (1, 16))
  assert found["accuracy_on_restorations"]["value"] == pytest.approx(5 / 6)
  # 1/255 = .004 turns none (.008 are needed), 16/255 = .063 turns all.
  assert [own["attack"]["value"] for own in found["bounds"].values()] == [0, 1]
  assert [own["strong"]["value"] for own in found["bounds"].values()] == [0, 1]
  assert found["bounds"]["16"]["rates"][1] == {"target": 1, "before": 0.5, "after": 1.0, "strong_after": 1.0}
  # The classifier sees nothing of the pasted rows, and random signs cancel out.
  assert not any(found["bounds"]["16"][kind]["value"] for kind in ("held", "strong_held", "random"))
  deaf = decisions.measure(restorer(1e-3), lambda x: classify(x) + jnp.array([-1.0, 0]), faces(), labels, (16,))
  assert deaf["bounds"]["16"]["attack"]["value"] == 0


def test_the_stronger_attack_turns_what_the_papers_does_not():
  """The way to the other class is uphill to .7 at a third of the bound, through a valley, and up to 1.9 at its end."""

  def hilly(x):
    t = (x[:, :ROWS].mean((1, 2, 3)) - 0.5) / (16 / 255)
    return jnp.stack([jnp.ones_like(t), 2 * t * jnp.maximum(t, 0) + 0.5 * jnp.sin(6 * t)], -1)

  grey = np.full((2, 16, 16, 3), 0.5, np.float32)
  own = decisions.measure(restorer(1.0), hilly, grey, np.array([0, 0]), (16,))["bounds"]["16"]
  assert (own["attack"]["value"], own["strong"]["value"], own["strong_held"]["value"]) == (0, 1, 0)


def test_counts_by_hand():
  before, after = np.array([[0, 0, 1], [1, 0, 1]]), np.array([[1, 0, 1], [1, 1, 0]])
  assert decisions.turned(before, after, 1) == (2, 3)
  assert decisions.turned(before, after, 0) == (1, 3)
  share = decisions.proportion_of_faces(20, 40, 4)
  # Wilson with n = 4: half the width is z / (1 + z^2 / n) sqrt(p (1 - p) / n + z^2 / (4 n^2)).
  z = 1.959964
  half = z / (1 + z**2 / 4) * np.sqrt(0.25 / 4 + z**2 / 64)
  assert share["value"] == 0.5 and share["interval"] == pytest.approx([0.5 - half, 0.5 + half], abs=1e-5)


def test_labels_are_in_the_order_of_the_names(tmp_path):
  path = tmp_path / "labels.csv"
  path.write_text("file,age,gender\ntrain/b.jpg,30,1\nval/a.jpg,3,1\ntrain/a.jpg,40,0\n")
  found = face_classifier.read_labels(path, {"train": 2, "val": 1})
  assert found["train"].tolist() == [0, 1] and found["val"].tolist() == [1]
  with pytest.raises(UserError, match="a label belongs to each image"):
    face_classifier.read_labels(path, {"train": 3, "val": 1})
  with pytest.raises(UserError, match="cannot be read"):
    face_classifier.read_labels(tmp_path / "absent.csv", {"train": 1})


def test_the_classifier_learns_and_is_kept(tmp_path):
  rng = np.random.default_rng(0)
  labels = rng.integers(2, size=128)
  images = (rng.integers(0, 80, (128, 8, 8, 3)) + 120 * labels[:, None, None, None]).astype(np.uint8)
  params = face_classifier.train_classifier(images, labels, tmp_path / "c.msgpack", epochs=10)
  decided = face_classifier.decide(face_classifier.make_classify(params), images / np.float32(255), batch_size=50)
  assert np.mean(decided == labels) > 0.95
  again = face_classifier.train_classifier(images[:2], labels[:2], tmp_path / "c.msgpack")
  np.testing.assert_array_equal(again["params"]["Dense_0"]["kernel"], params["params"]["Dense_0"]["kernel"])


def test_the_figure_and_the_runs(tmp_path):
  share = {"value": 0.5, "interval": [0.4, 0.6]}
  bounds = {alpha: {kind: share for kind in decisions.KINDS} for alpha in ("1", "16")}
  found = {"accuracy_on_restorations": share, "bounds": bounds}
  assert decisions.draw({"restorers": {"deterministic-robust": found}}, tmp_path).exists()
  assert "0.500 [0.400, 0.600]" in decisions.render("deterministic-robust", found)
  robust, erratic = (
    decisions.make_run(f"deterministic-{kind}", tmp_path, 10).make_config() for kind in ("robust", "erratic")
  )
  assert robust.optim.robust_weight == decisions.ROBUST_WEIGHT and erratic.optim.robust_weight == 0
  assert json.dumps(robust.train.num_steps) == "10" and robust.data.image_size == 32
