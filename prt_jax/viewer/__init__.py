"""A page on which a restorer is looked at, attacked and explored: prt_jax.view serves it."""
