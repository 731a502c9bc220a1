"""Which exact formulation of the networks each kind of device computes, chosen by what its compiler makes of them.

The parameters and the numbers, to rounding, are the same everywhere. `python -m benchmarks.compiled` shows, without a
device, what a TPU's or a GPU's compiler makes of a step (sr16 at full size, bfloat16, 64 images, 10 seeds).

One gradient of the attack was 206.9 million cycles by a v5e's compiler's own estimate when everything was as on a CPU:
72 with the seeds merged and the widest planes in blocks, 49 with edges added as padded rows and seeds repeated by
concatenation, 45 with strided pools, 43 with folded kernels written out. A plain step went from 51.1 to 34.2 with
these, and to 24.4 with the critic's planes filling the lanes and its pools in the convolutions.
An H100 moves 13.3 GB in a gradient as chosen here, 15.0 with a TPU's formulation (436 instead of 275 kernels), and
13.4 with sums; in a plain step 7.1 GB, 8.1 with pools after the convolutions. Tried without gain: the
critic's residual scale as part of its kernels (a TPU's critic step 13.2 instead of 12.9; a GPU's plain step 6.9 GB).
"""

import dataclasses

from prt_jax import devices


@dataclasses.dataclass(frozen=True)
class Formulation:
  """How the networks are computed.

  Attributes:
    tuned_convolutions: 3x3 convolutions with gradients written as XLA's CPU compiler wants them (convolution.py), few
      channels filled up, and tiny planes as one product.
    blocks: the U-Net's widest planes are kept in 2x2 blocks, and what is upsampled is convolved before, not after
      (blocks.py).
    sums: a convolution of a concatenation is the sum of its parts' convolutions; else the concatenation is made.
    strided_pools: pools take strided slices; else reshaped ones.
    lanes: the critic's planes are kept in blocks that have as many channels (1: in none), and its average pools are
      part of the convolutions before them; 0: neither.
    merges_seeds: all draws of the noise go through the net as one batch of S B examples; else under vmap, or a loop.
    unrolls_search: the steps of the inner search are written out; else they are a loop, whose body is compiled once.
  """

  tuned_convolutions: bool
  blocks: bool
  sums: bool
  strided_pools: bool
  lanes: int
  merges_seeds: bool
  unrolls_search: bool


_CPU = Formulation(
  tuned_convolutions=True,
  blocks=False,
  sums=False,
  strided_pools=False,
  lanes=0,
  merges_seeds=False,
  unrolls_search=True,
)
_TPU = Formulation(
  tuned_convolutions=False,
  blocks=True,
  sums=True,
  strided_pools=True,
  lanes=128,
  merges_seeds=True,
  unrolls_search=False,
)
_GPU = dataclasses.replace(_TPU, blocks=False, sums=False, lanes=1)
FORMULATIONS = {"cpu": _CPU, "gpu": _GPU, "tpu": _TPU}


def formulation_of(platform: str | None) -> Formulation:
  """The formulation for 'cpu', 'gpu' or 'tpu'; None = JAX's default backend."""
  return FORMULATIONS[platform or devices.backend()]
