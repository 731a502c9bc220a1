"""The critic step with its gradient penalty R1, a second-order gradient, computed in several exact ways.

python -m benchmarks.r1 --device=cpu --batch=16 --json=FILE
"""

from benchmarks import settings
from benchmarks.savings import Alternative, render, run_comparisons

__all__ = ["render"]


def alternatives(_) -> list[Alternative]:
  """The ways that are not prt_jax.losses.logits_and_r1_penalty's: one forward pass, reverse over reverse."""
  import jax
  import jax.numpy as jnp

  from prt_jax import losses

  def squared_norm(gradient):
    return jnp.sum(gradient**2, axis=range(1, gradient.ndim))

  def separate_passes(critic, x):
    gradient = jax.grad(lambda x: jnp.sum(critic(x)))(x)
    return critic(jax.lax.optimization_barrier(x)), squared_norm(gradient)

  def reverse_over_forward(critic, x):
    # d||g||^2/dtheta = 2 g . dg/dtheta: with g held fixed, the derivative of C along g has this gradient, and no
    # reverse pass is differentiated.
    gradient = jax.lax.stop_gradient(jax.grad(lambda x: jnp.sum(critic(x)))(x))
    logits, along = jax.jvp(critic, (x,), (gradient,))
    return logits, squared_norm(gradient) + 2 * (along - jax.lax.stop_gradient(along))

  def each_example(critic, x):
    logits, gradient = jax.vmap(jax.value_and_grad(lambda x: critic(x[None])[0]))(x)
    return logits, squared_norm(gradient)

  def no_penalty(critic, x):
    logits = critic(x)
    return logits, jnp.zeros_like(logits)

  ways = {
    "logits by a pass of their own": separate_passes,
    "reverse over forward": reverse_over_forward,
    "a gradient an example": each_example,
    "without the penalty (another loss)": no_penalty,
  }
  return [Alternative(name, ("critic",), ((losses, "logits_and_r1_penalty", way),)) for name, way in ways.items()]


def main(argv: list[str]) -> None:
  """Compares the ways."""
  run_comparisons(argv, __doc__, "benchmarks.r1", "critic", alternatives)


if __name__ == "__main__":
  settings.run(main)
