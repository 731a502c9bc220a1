"""A function's program is found by what it computes: new weights are seen, and need no new program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prt_jax.attacks import adversarial_search, ifgsm
from prt_jax.audit import audit
from prt_jax.decision_attack import decision_attack
from prt_jax.evaluation.exploration import explore, random_outputs
from prt_jax.lipschitz import attack_lower_bound, jacobian_lower_bound
from prt_jax.programs import as_program

Y = jnp.full((1, 8, 8, 3), 0.5)
NO_NOISE = jnp.zeros((1, 1))
QUICK = {"alphas": (0.01,), "num_steps": 2, "num_jacobian_steps": 2}


class Scaled:
  """y -> gain y, with a gain that is an array of JAX's or numpy's, or a number."""

  def __init__(self, gain):
    self.gain = gain

  def __call__(self, y, z=None):
    return self.gain * y

  def set(self, gain):
    self.gain = type(self.gain)(gain) if isinstance(self.gain, float) else self.gain * 0 + gain


class ScaledModule(nnx.Module):
  def __init__(self):
    self.gain = nnx.Param(jnp.asarray(2.0))

  def __call__(self, y, z=None):
    return self.gain[...] * y

  def set(self, gain):
    self.gain[...] = jnp.asarray(gain)


def closure():
  held = {"gain": jnp.asarray(2.0)}

  def restore(y, z=None):
    return held["gain"] * y

  restore.set = lambda gain: held.update(gain=jnp.asarray(gain))
  return restore


def jitted_inside():
  """What a nested jit reads is a constant deep inside."""
  held = Scaled(jnp.asarray(2.0))

  def restore(y, z=None):
    gain = held.gain
    return jax.jit(lambda y: gain * y)(y)

  restore.set = held.set
  return restore


RESTORERS = {
  "object": lambda: Scaled(jnp.asarray(2.0)),
  "numpy": lambda: Scaled(np.full(3, 2, np.float32)),
  "number": lambda: Scaled(2.0),
  "nnx": ScaledModule,
  "closure": closure,
  "nested jit": jitted_inside,
}


def bound_method(restorer):
  return restorer.__call__


def partial(restorer):
  return jax.tree_util.Partial(restorer)


MEASURES = {
  "audit": lambda restore: audit(restore, Y, **QUICK)["lipschitz_lower_bound"],
  "jacobian": lambda restore: jacobian_lower_bound(restore, Y, None, jax.random.key(0), num_steps=2)[0][0],
  "attack": lambda restore: attack_lower_bound(restore, Y, NO_NOISE, jax.random.key(0), alpha=0.01, num_steps=2)[0],
  "search": lambda restore: attack_lower_bound(restore, Y, NO_NOISE, jax.random.key(0), eps=0.1, num_steps=2)[0],
}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("kind", RESTORERS)
def test_new_weights_are_measured(kind, measure):
  restorer = RESTORERS[kind]()
  for restore in (restorer, bound_method(restorer), partial(restorer)):
    for gain in (2.0, 0.2):
      restorer.set(gain)
      assert float(MEASURES[measure](restore)) == pytest.approx(gain, rel=1e-3)


def test_the_audit_of_new_weights_by_hand():
  # x = y: the output is off by .5 (gain - 1), so luma by (65.481 + 128.553 + 24.966) / 255 of it.
  restorer = Scaled(jnp.asarray(0.9))
  y = np.full((1, 16, 16, 3), 0.4, np.float32)
  for gain in (0.9, 0.99):
    restorer.gain = jnp.asarray(gain)
    off = np.round(255 * 0.4 * gain) / 255 - 0.4
    assert audit(restorer, y, x=y, **QUICK)["psnr_y_db"] == pytest.approx(-20 * np.log10(0.8588 * abs(off)), abs=0.01)


def test_explorations_see_new_weights():
  restorer = Scaled(jnp.asarray(2.0))
  for gain in (2.0, 0.2):
    restorer.gain = jnp.asarray(gain)
    delta, found = explore(restorer, Y, None, jax.random.key(0), num_outputs=2, num_steps=2)
    np.testing.assert_allclose(found, gain * (Y + delta), rtol=1e-5)
    np.testing.assert_allclose(random_outputs(restorer, Y, None, jax.random.key(0), num_outputs=2)[0], gain * Y[0])


def test_attacks_follow_new_weights():
  """The attack goes where the output changes: the weights say in which of the two halves."""
  restorer = Scaled(jnp.zeros(2).at[0].set(1.0))

  def restore(y, z):
    return y * restorer.gain

  y = jnp.full((1, 2), 0.5)
  searches = (
    functools.partial(ifgsm, alpha=0.1, num_steps=4),
    functools.partial(adversarial_search, eps=0.1, num_steps=4, learning_rate=0.1),
  )
  for search in searches:
    for first, second in ((1.0, 0.0), (0.0, 1.0)):
      restorer.gain = jnp.asarray([first, second])
      delta = jnp.abs(search(restore, y, NO_NOISE, jax.random.key(0)))[0]
      assert (delta[0] > delta[1]) == (first > second)


def test_decisions_follow_new_weights_of_restorer_and_classifier():
  restorer, classifier = Scaled(jnp.asarray(1.0)), Scaled(jnp.asarray([1.0, -1.0]))

  def classify(x):
    return (x.mean((1, 2, 3)) - 0.5)[:, None] * classifier.gain

  for gain, sign in ((1.0, 1.0), (-1.0, 1.0), (1.0, -1.0)):
    restorer.gain, classifier.gain = jnp.asarray(gain), sign * jnp.asarray([1.0, -1.0])
    delta = decision_attack(restorer, classify, Y, NO_NOISE, target=0, alpha=0.1, num_steps=3).delta
    np.testing.assert_allclose(delta, gain * sign * 0.1, atol=1e-6)


def test_derivative_rules_of_ones_own_are_seen():
  slope = {"value": 2.0}

  @jax.custom_vjp
  def straight_through(y):
    return jnp.round(y)

  straight_through.defvjp(lambda y: (jnp.round(y), None), lambda _, cotangent: (slope["value"] * cotangent,))
  compiled = jax.jit(jax.grad(lambda restore, y: jnp.sum(restore(y)), 1), static_argnums=())
  for slope["value"] in (2.0, 0.2):
    program = as_program(straight_through, Y)
    np.testing.assert_allclose(compiled(program, Y), slope["value"])


@pytest.mark.parametrize("kind", sorted(set(RESTORERS) - {"number", "nested jit"}))
def test_new_values_need_no_new_program(kind):
  traces = []

  @jax.jit
  def run(restore, y):
    traces.append(1)
    return restore(y)

  restorer = RESTORERS[kind]()
  for gain in (2.0, 0.2):
    restorer.set(gain)
    np.testing.assert_allclose(run(as_program(restorer, Y), Y), gain * Y, rtol=1e-6)
  again = RESTORERS[kind]()  # another object that computes the same
  np.testing.assert_allclose(run(as_program(again, Y), Y), 2 * Y, rtol=1e-6)
  assert len(traces) == 1


def test_what_computes_otherwise_has_a_program_of_its_own():
  functions = [
    lambda y: y + 1, lambda y: y + 2, lambda y: 1 - y, lambda y: y - 1, lambda y: jax.nn.relu(y - 1),
    lambda y: (y, y), lambda y: [y, y], lambda y: jnp.cumsum(y, 1), lambda y: jnp.cumsum(y, 2),
    lambda y: jax.lax.fori_loop(0, 3, lambda _, y: 2 * y, y), lambda y: jax.lax.fori_loop(0, 4, lambda _, y: 2 * y, y),
  ]
  assert len({as_program(function, Y).func for function in functions}) == len(functions)


def test_programs_are_traced_inside_a_callers_jit():
  restorer = Scaled(jnp.asarray(2.0))
  for gain in (2.0, 0.2):
    restorer.gain = jnp.asarray(gain)

    def change(y):
      delta = ifgsm(restorer, y, NO_NOISE, jax.random.key(0), alpha=0.1, num_steps=2)
      return restorer(y + delta) - restorer(y)

    np.testing.assert_allclose(jnp.abs(jax.jit(change)(Y)).max(), gain * 0.1, rtol=1e-3)
