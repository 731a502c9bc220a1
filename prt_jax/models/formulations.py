"""Which exact formulation of the networks each kind of device computes, chosen by what its compiler makes of them.

The parameters and the numbers, to rounding, are the same everywhere. `python -m benchmarks.compiled` shows, without a
device, what a TPU's or a GPU's compiler makes of a step. Of one gradient of the attack (sr16 at full size, bfloat16, 64
images, 10 seeds) a v5e's made 206.9 million cycles, by its own estimate, when everything was as on a CPU: 72 with the
seeds merged and the widest planes in blocks, 49 with edges added as padded rows and seeds repeated by concatenation, 45
with strided pools, 43 with folded kernels written out. A GPU's choice is a TPU's, not yet counted.
"""

import dataclasses

from prt_jax import devices


@dataclasses.dataclass(frozen=True)
class Formulation:
  """How the networks are computed.

  Attributes:
    tuned_convolutions: 3x3 convolutions with gradients written as XLA's CPU compiler wants them (convolution.py), few
      channels filled up, and tiny planes as one product.
    blocks: the widest planes are kept in 2x2 blocks, and what is upsampled is convolved before, not after (blocks.py).
    sums: a convolution of a concatenation is the sum of its parts' convolutions; else the concatenation is made.
    strided_pools: pools take strided slices; else reshaped ones.
    merges_seeds: all draws of the noise go through the net as one batch of S B examples; else under vmap, or a loop.
    unrolls_search: the steps of the inner search are written out; else they are a loop, whose body is compiled once.
  """

  tuned_convolutions: bool
  blocks: bool
  sums: bool
  strided_pools: bool
  merges_seeds: bool
  unrolls_search: bool


FORMULATIONS = {
  "cpu": Formulation(
    tuned_convolutions=True, blocks=False, sums=False, strided_pools=False, merges_seeds=False, unrolls_search=True
  ),
  "gpu": Formulation(
    tuned_convolutions=False, blocks=True, sums=True, strided_pools=True, merges_seeds=True, unrolls_search=False
  ),
  "tpu": Formulation(
    tuned_convolutions=False, blocks=True, sums=True, strided_pools=True, merges_seeds=True, unrolls_search=False
  ),
}


def formulation_of(platform: str | None) -> Formulation:
  """The formulation for 'cpu', 'gpu' or 'tpu'; None = JAX's default backend."""
  return FORMULATIONS[platform or devices.backend()]
