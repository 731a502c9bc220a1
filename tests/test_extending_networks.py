"""docs/extending_networks.md: the code that it shows is run, and what it adds trains, is evaluated and audited."""

import json
import re
import types

import numpy as np
import pytest

from configs import toy_disk
from prt_jax import evaluate
from prt_jax.audit import command_line
from prt_jax.data import SOURCES, prepare
from prt_jax.errors import UserError
from prt_jax.models import NETWORKS, Players
from prt_jax.plan.needs import data_needs
from prt_jax.training.data_identity import check_data
from prt_jax.training.gan import init_state, make_game
from prt_jax.training.loop import train
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "extending_networks.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


def run_section(title: str) -> types.SimpleNamespace:
  """The names that a section's blocks of Python leave, as those of a module."""
  names = {}
  for block in re.findall(r"^```python\n(.*?)^```", SECTIONS[title], re.M | re.S):
    exec(block, names)
  return types.SimpleNamespace(**names)


def test_every_section_shows_code():
  assert [title for title in SECTIONS if "```python" in SECTIONS[title]] == list(SECTIONS) != []


@pytest.fixture
def networks(monkeypatch):
  """NETWORKS with the addition of the page, for one test."""
  for name, row in list(NETWORKS.items()):
    monkeypatch.setitem(NETWORKS, name, row)
  yield run_section("A network")
  del NETWORKS["plain"]


def test_a_plain_network_trains_is_evaluated_and_audited(networks, tiny_config, photographs, tmp_path):
  tiny_config.model.kind = "plain"
  tiny_config.train.num_steps = 6
  tiny_config.eval.update(
    num_examples=8, batch_size=8, feature_extractor="pixels", num_std_seeds=3,
    strong_num_examples=2, strong_num_steps=1, strong_num_restarts=0,
  )  # fmt: skip
  before = init_state(make_game(tiny_config))
  state = train(tiny_config, tmp_path / "run")
  assert int(state.step) == 6
  moved = np.abs(before.generator_params["Conv_0"]["kernel"] - state.generator_params["Conv_0"]["kernel"]).max()
  assert 1e-4 < moved < 1
  # The running averages are those of the plain pass, over all devices.
  assert np.abs(state.batch_stats["BatchNorm_0"]["mean"]).max() > 0
  report = evaluate.evaluate(tiny_config, tmp_path / "run")
  assert report["results"]["per_pixel_std"]["value"] > 0
  assert report["results"]["consistency_db"]["value"] == 100
  command_line.main([
    f"--restorer={tmp_path / 'run'}", f"--input={photographs / 'val'}", f"--output={tmp_path / 'out'}",
    "--alphas=8", "--num_steps=2", "--num_seeds=2", "--num_jacobian_steps=1", "--max_images=1",
  ])
  assert json.loads((tmp_path / "out" / "report.json").read_text())["lipschitz_lower_bound"] > 0


def test_a_network_of_another_shape_is_refused(networks, tiny_config, monkeypatch):
  generator, critic = networks.PlainGenerator, networks.PlainCritic

  class Grey(generator):
    def __call__(self, x, z, train):
      return super().__call__(x, z, train)[:, ::2, ::2]

  class Scores(critic):
    def __call__(self, x):
      return super().__call__(x)[:, None]

  for players, message in (
    (Players(Grey(2), critic(2), ((32, 32, 1),)), r"model.kind='plain': its generator gives \(1, 16, 16, 3\)"),
    (Players(generator(2), Scores(2), ((32, 32, 1),)), r"model.kind='plain': its critic gives \(1, 1\)"),
  ):
    monkeypatch.setitem(NETWORKS, "plain", lambda *_, players=players, **__: players)
    tiny_config.model.kind = "plain"
    with pytest.raises(UserError, match=message):
      init_state(make_game(tiny_config))


def test_a_source_of_images_is_read_once_planned_and_trained_on(tiny_config, tmp_path, monkeypatch):
  stripes = run_section("A source of images")
  monkeypatch.setitem(SOURCES, "stripes", stripes)
  tiny_config.data.update(source="stripes", path="", cache_dir=str(tmp_path / "cache"))
  counts, need, is_prepared = data_needs(tiny_config.data)
  assert (counts, need.state, is_prepared) == ({"train": 24, "val": 8}, "there", False)
  dataset = prepare(tiny_config.data)
  assert dataset.train.shape == (24, 32, 32, 3)
  # Stripes: what varies from left to right does not vary from top to bottom, or the other way round.
  assert (dataset.train == dataset.train[:, :1]).all() and dataset.train.std(2).max() > 10
  monkeypatch.setattr(stripes, "read", None)
  np.testing.assert_array_equal(prepare(tiny_config.data).val, dataset.val)
  assert data_needs(tiny_config.data)[2]


def test_a_source_that_draws_is_trained_on(tmp_path, monkeypatch):
  monkeypatch.setitem(SOURCES, "circle", run_section("A source that draws"))
  config = toy_disk.get_config("deterministic-erratic,demo").unlock()
  config.data.update(source="circle", cache_dir=str(tmp_path / "cache"))
  config.model.update(width=4, critic_width=4)
  config.train.update(
    num_steps=4, batch_size=8, steps_per_dispatch=1, log_every_steps=4, checkpoint_every_steps=4, image_every_steps=4
  )
  assert int(train(config, tmp_path / "run").step) == 4
  assert not (tmp_path / "cache").exists()
  other, again = prepare(config.data, 1), prepare(config.data, 1)
  np.testing.assert_allclose(np.hypot(*other.train.T), 0.9, rtol=1e-6)
  np.testing.assert_array_equal(other.train, again.train)
  with pytest.raises(UserError, match=r"holds a run on other data .* other training and validation images"):
    check_data(tmp_path / "run", other)
