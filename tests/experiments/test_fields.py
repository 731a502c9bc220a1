"""--set has one grammar, whichever experiment reads it: that of the fields' own kinds."""

import pytest

from experiments import image_tradeoff, table1
from experiments.fields import parse_fields
from prt_jax.config import base
from prt_jax.errors import UserError


@pytest.mark.parametrize(
  ("text", "name", "value"),
  [
    ("model.stochastic=true", "model.stochastic", True),
    ("model.stochastic=False", "model.stochastic", False),
    ("model.sync_batch_norm=0", "model.sync_batch_norm", False),
    ("train.num_steps=12", "train.num_steps", 12),
    ("optim.robust_weight=5", "optim.robust_weight", 5.0),
    ("optim.learning_rate=1e-3", "optim.learning_rate", 1e-3),
    ("optim.decay_steps=(6,)", "optim.decay_steps", (6,)),
    ("optim.decay_steps=[6, 8]", "optim.decay_steps", (6, 8)),
    ("optim.decay_steps=6,8", "optim.decay_steps", (6, 8)),
    ("optim.decay_steps=6", "optim.decay_steps", (6,)),
    ("optim.decay_steps=()", "optim.decay_steps", ()),
    ("data.path=/a=b/1", "data.path", "/a=b/1"),
    ("data.name=1", "data.name", "1"),
    ("eval.lpips_weights=", "eval.lpips_weights", ""),
    ("seed=3", "seed", 3),
  ],
)
def test_a_value_is_what_its_field_is(text, name, value):
  fields = parse_fields([text])
  assert fields == {name: value} and type(fields[name]) is type(value)
  base().update_from_flattened_dict(fields)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("model.stochastic", "write GROUP.FIELD=VALUE"),
    ("model.stochastc=true", "there is no field 'model.stochastc'"),
    ("model=3", "there is no field 'model'"),
    ("model.stochastic=maybe", "model.stochastic takes true or false"),
    ("train.num_steps=1.5", "train.num_steps takes a whole number"),
    ("optim.learning_rate=fast", "optim.learning_rate takes a number"),
    ("optim.decay_steps=early", "optim.decay_steps takes numbers"),
    ("optim.decay_steps=('6',)", "optim.decay_steps takes numbers"),
  ],
)
@pytest.mark.parametrize("command", [image_tradeoff.main, table1.main])
def test_every_command_refuses_the_same_in_the_same_words(text, message, command, tmp_path):
  with pytest.raises(UserError) as error:
    command(["--smoke", f"--workdir={tmp_path / 'runs'}", "--set", text])
  assert message in str(error.value)
