"""Curves in Weights & Biases, as a module in its place sees them."""

import json
import sys
import types

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.training import loop, writers
from prt_jax.training.wandb_writer import WandbWriter


class Fake(types.ModuleType):
  """wandb's own rule: a step that is behind the last one is dropped; a finished id goes on where it was."""

  def __init__(self):
    super().__init__("wandb")
    self.inits, self.curves, self.last, self.finished, self.broken = [], {}, {}, 0, False
    self.Image = lambda array: ("image", array.shape)

  def init(self, **arguments):
    self.inits.append(arguments)
    name = arguments["id"]

    def log(values, step):
      if self.broken:
        raise ConnectionError("the network is down")
      if step >= self.last.get(name, 0):
        self.last[name] = step
        self.curves.setdefault(name, {}).setdefault(step, {}).update(values)

    def finish():
      self.finished += 1

    return types.SimpleNamespace(log=log, finish=finish)


@pytest.fixture
def wandb(monkeypatch):
  fake = Fake()
  monkeypatch.setitem(sys.modules, "wandb", fake)
  monkeypatch.setattr(writers, "_tensorboard_writer", lambda workdir, purge_after=None: None)
  return fake


@pytest.fixture
def config(tiny_config):
  tiny_config.train.wandb_project = "prt"
  return tiny_config


def test_a_resumed_run_is_one_curve(wandb, config, tmp_path):
  """Steps 4 and 5 of the first session are after its checkpoint, of step 3: they are measured again."""
  for first_step, steps in ((0, (1, 2, 3, 4, 5)), (3, (4, 5, 6))):
    session = writers.Writers(tmp_path, config, first_step)
    for step in steps:
      session.write_scalars(step, {"r1": step / 10})
    session.write_scalars(steps[-1], {"watch/recall": 0.5})
    session.write_image(steps[-1], "restorations", np.zeros((8, 16, 3), np.uint8))
    session.flush()
    session.close()
  ((name, curve),) = wandb.curves.items()
  assert {step: values["r1"] for step, values in curve.items()} == {step: step / 10 for step in range(1, 7)}
  assert curve[6] == {"r1": 0.6, "watch/recall": 0.5, "restorations": [("image", (8, 16, 3))]}
  assert json.loads((tmp_path / "wandb.json").read_text()) == {"id": name}
  assert [init["id"] for init in wandb.inits] == 2 * [name] and wandb.finished == 2
  first = wandb.inits[0]
  assert (first["project"], first["resume"], first["name"]) == ("prt", "allow", tmp_path.name)
  assert first["config"]["optim"]["learning_rate"] == 1e-3


def test_two_runs_are_two_curves(wandb, config, tmp_path):
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    WandbWriter(tmp_path / name, config).close()
  assert len({init["id"] for init in wandb.inits}) == 2


def test_a_network_that_fails_ends_the_curves_and_not_the_run(wandb, config, tmp_path, caplog):
  session = writers.Writers(tmp_path, config, 0)
  wandb.broken = True
  for step in (1, 2):
    session.write_scalars(step, {"r1": 0.1})
  session.close()
  assert caplog.text.count("no more curves in wandb: the network is down") == 1
  assert [line["step"] for line in session.lines()] == [1, 2]


def test_only_the_process_that_writes_has_curves(wandb, config, tmp_path):
  writers.Writers(tmp_path, config, 0, primary=False).close()
  assert not wandb.inits


def test_without_wandb_it_is_one_line_before_anything_is_done(config, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "wandb", None)
  with pytest.raises(UserError, match=r"train\.wandb_project=prt needs wandb, .* pip install 'prt_jax\[wandb\]'"):
    loop.train(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_start_that_fails_is_one_line(wandb, config, tmp_path, monkeypatch):
  def fail(**_):
    raise RuntimeError("api_key not configured\nmore")

  monkeypatch.setattr(wandb, "init", fail)
  with pytest.raises(UserError, match=r"wandb cannot start \(api_key not configured\): .*WANDB_MODE=offline"):
    WandbWriter(tmp_path, config)


def test_its_methods_are_those_of_clus_writers():
  interface = pytest.importorskip("clu.metric_writers").MetricWriter
  own = {name for name in vars(WandbWriter) if not name.startswith("_")}
  assert own == {"write_scalars", "write_images", "flush", "close"} and own <= set(dir(interface))
