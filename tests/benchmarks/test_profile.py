"""The profile: operations sorted by what they contain, and times that come from the trace."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import profile

PROGRAM = """HloModule jit_f

%fused (a: f32[4,4], b: f32[4,4]) -> f32[4] {
  %a = f32[4,4]{1,0} parameter(0)
  %m = f32[4,4]{1,0} multiply(%a, %a)
  ROOT %r = f32[4]{0} reduce(%m, %c), dimensions={1}, to_apply=%sum
}

ENTRY %main (x: f32[1,8,8,4], k: f32[3,3,4,4]) -> f32[1,8,8,4] {
  %conv.1 = f32[1,8,8,4]{3,2,1,0} convolution(%x, %k), window={size=3x3}, dim_labels=b01f_01io->b01f
  %cudnn = (f32[1,8,8,4]{3,2,1,0}, u8[0]{0}) custom-call(%x, %k), custom_call_target="__cudnn$convForward"
  %dot.2 = f32[4,4]{1,0} dot(%y, %y), lhs_contracting_dims={1}
  %fusion.3 = f32[4]{0} fusion(%y, %y), kind=kLoop, calls=%fused
  %while.4 = (f32[4]{0}, s32[]) while(%t), condition=%c, body=%b
  %copy.5 = f32[4]{0} copy(%fusion.3)
  ROOT %add.6 = f32[1,8,8,4]{3,2,1,0} add(%conv.1, %conv.1)
}
"""


def test_operations_are_sorted_by_what_they_contain():
  kinds = profile.operation_kinds(PROGRAM)
  assert {name: kinds[name] for name in ("conv.1", "cudnn", "dot.2", "fusion.3", "copy.5", "add.6")} == {
    "conv.1": "convolutions",
    "cudnn": "convolutions",
    "dot.2": "matrix products",
    "fusion.3": "reductions",
    "copy.5": "moving data",
    "add.6": "elementwise",
  }
  assert "while.4" not in kinds


def test_a_products_time_is_a_products():
  program = jax.jit(lambda x: x @ x).lower(jnp.ones((600, 600))).compile()
  found = profile.profile(program, (jnp.ones((600, 600)),))
  assert sum(found["share"].values()) == pytest.approx(1)
  attributed = 1 - found["share"][profile.REST]
  assert found["share"]["matrix products"] > 0.5 * attributed > 0
  assert found["wall_s"] > 0
