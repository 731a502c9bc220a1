"""Every numeric field refuses what is no number, and what cannot work; plain meanings are taken."""

import math

import jax
import pytest

from prt_jax import evaluate
from prt_jax.config import flat
from prt_jax.config_check import INTERVALS, checked
from prt_jax.errors import UserError
from prt_jax.training.gan import make_game
from tests import tiny


def fields_of(kind):
  return [name for name, value in flat(tiny.get_config()) if type(value) is kind]


def changed(**fields):
  config = tiny.get_config()
  config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
  return config


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_all_fields_that_are_no_number_are_named_at_once(value):
  names = fields_of(float)
  assert len(names) >= 12
  config = tiny.get_config()
  config.update_from_flattened_dict(dict.fromkeys(names, value))
  with pytest.raises(UserError) as error:
    make_game(config)
  assert "\n" not in str(error.value)
  for name in names:
    assert f"{name}={value}" in str(error.value)


@pytest.mark.parametrize("name", fields_of(float))
def test_each_field_alone(name):
  config = tiny.get_config()
  config.update_from_flattened_dict({name: math.nan})
  with pytest.raises(UserError, match=f"not finite: {name}=nan; give a number$"):
    make_game(config)


def test_a_tuple_of_numbers_is_numbers():
  with pytest.raises(UserError, match="decay_steps"):
    checked(changed(optim__decay_steps=(6, math.nan)))
  with pytest.raises(UserError, match=r"optim\.decay_steps=\(0, 6\): each must be at least 1"):
    checked(changed(optim__decay_steps=(0, 6)))


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("seed", 2**32), ("seed", -1), ("seed", 10**23), ("optim.b1", 1.0), ("optim.b2", 1.5), ("optim.b1", -0.1),
    ("optim.decay_factor", 0.0), ("train.num_steps", 2**31), ("eval.strong_num_restarts", -1),
    ("train.steps_per_dispatch", -1), ("data.train_fraction", 0.0), ("attack.learning_rate", 0.0),
  ],
)  # fmt: skip
def test_what_cannot_work_is_one_line_with_the_fields_name(name, value):
  config = tiny.get_config()
  config.update_from_flattened_dict({name: value})
  with pytest.raises(UserError, match=f"^{name}={value}"):
    make_game(config)


def test_every_interval_is_of_a_field_and_holds_its_default():
  config = checked(tiny.get_config())
  for group, intervals in INTERVALS.items():
    assert set(intervals) <= set(config[group])


def test_the_largest_seed_is_itself():
  assert checked(changed(seed=2**32 - 1)).seed == 2**32 - 1
  first, last = (jax.random.key_data(jax.random.key(seed)) for seed in (0, 2**32 - 1))
  assert (first != last).any()


def test_a_deterministic_model_takes_its_seeds_as_one(caplog):
  config = changed(model__stochastic=False, attack__num_seeds=10)
  with caplog.at_level("INFO", logger="absl"):
    game = make_game(config)
  assert game.config.attack.num_seeds == 1 and game.seeds_at_once == 1
  assert caplog.text.count("attack.num_seeds=10 is taken as 1") == 1
  assert config.attack.num_seeds == 10  # the caller's own stays


def test_fewer_examples_are_fewer_under_the_stronger_attack(caplog):
  with caplog.at_level("INFO", logger="absl"):
    config = evaluate.evaluation_config(changed(eval__num_examples=64))
  assert config.eval.strong_num_examples == 64
  assert caplog.text.count("eval.strong_num_examples=1000 is taken as eval.num_examples=64") == 1


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"eval__step": 3}, r"eval.step=3: the training will leave steps 4, 6, 8; 0 is the newest"),
    ({"eval__feature_extractor": "squeezenet", "eval__feature_weights": "/nowhere.npz"}, "/nowhere.npz"),
    ({"eval__feature_extractor": "nets"}, "unknown eval.feature_extractor"),
    ({"eval__num_neighbors": 8}, "eval.num_neighbors=8 needs more"),
    ({"eval__num_examples": 9}, "eval.num_examples=9, but .* 8 validation images"),
  ],
)
def test_an_evaluation_is_checked_before_the_training(fields, message, photographs, tmp_path):
  config = changed(eval__num_examples=8, eval__feature_extractor="pixels", eval__batch_size=8)
  config.data.update(path=str(photographs), cache_dir=str(tmp_path))
  evaluate.check_ahead(config)
  config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
  with pytest.raises(UserError, match=message):
    evaluate.check_ahead(config)
