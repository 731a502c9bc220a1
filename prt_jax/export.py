"""Writes a restorer as a StableHLO program with its weights, which JAX alone runs, without this package.

  python -m prt_jax.export --restorer=runs/sr16-stochastic-robust --output=restorer.jaxexport [--batch=1] [--size=64]

The program takes measurements y [B,h,w,3] float32 in [0, 1] and a seed (uint32), and returns restorations clipped to
[0, 1]; another seed is another draw of a stochastic restorer, and changes nothing of a deterministic one. It can be
differentiated with respect to y. docs/export.md loads it in ten lines.
"""

import pathlib

import jax
import jax.numpy as jnp
from jax import export as jax_export

from prt_jax.commands.parser import Parser, run
from prt_jax.errors import UserError
from prt_jax.precision import in_float32
from prt_jax.restorers.by_name import load_restorer
from prt_jax.restorers.restorer import Restorer

PLATFORMS = ("cpu", "cuda", "tpu")


def main(argv: list[str]) -> None:
  """Parses, exports, writes, and says what the program takes."""
  parser = Parser(__doc__)
  parser.add_argument("--restorer", required=True, help="what prt_jax.audit takes: a workdir, a network")
  parser.add_argument("--checkpoint", help="weights of a published network; of a workdir a step, or best")
  parser.add_argument("--scale", type=int, help="magnification of a published network")
  parser.add_argument("--size", type=int, default=64, help="side of a published network's measurements; default 64")
  parser.add_argument("--batch", type=int, default=1, help="measurements a call; default 1")
  parser.add_argument("--platforms", default=",".join(PLATFORMS), help="that it can run on")
  parser.add_argument("--output", required=True, type=pathlib.Path, help="the file to write")
  arguments = parser.parse_args(argv)
  platforms = tuple(arguments.platforms.split(","))
  if unknown := set(platforms) - set(PLATFORMS):
    raise UserError(f"--platforms: {', '.join(sorted(unknown))} is unknown: choose among {', '.join(PLATFORMS)}")
  if min(arguments.batch, arguments.size) < 1:
    raise UserError("--batch and --size must be at least 1")
  restorer = load_restorer(arguments.restorer, checkpoint=arguments.checkpoint, scale=arguments.scale)
  exported = export(restorer, _measurement_shape(restorer, arguments.size), arguments.batch, platforms)
  try:
    arguments.output.write_bytes(exported.serialize(vjp_order=1))
  except OSError as error:
    raise UserError(f"--output={arguments.output} cannot be written ({error.strerror}): name another file") from error
  y, _ = exported.in_avals
  (x,) = exported.out_avals
  print(f"{arguments.output}: {restorer.name}, (y {y.str_short()}, seed uint32[]) -> x {x.str_short()}")


@in_float32
def export(
  restorer: Restorer,
  measurement_shape: tuple[int, int, int],
  batch_size: int = 1,
  platforms: tuple[str, ...] = PLATFORMS,
) -> jax_export.Exported:
  """A restorer as a program of its own, weights included.

  Args:
    restorer: one that JAX can trace.
    measurement_shape: (h, w, 3) of each y.
    batch_size: of y.
    platforms: 'cpu', 'cuda', 'tpu': what it is lowered for.

  Returns:
    jax.export.Exported of (y [batch_size, h, w, 3] float32, seed uint32) -> x [batch_size, H, W, 3] in [0, 1].

  Raises:
    UserError: a restorer that PyTorch computes.
  """
  if not restorer.traceable:
    raise UserError(f"{restorer.name} is computed by PyTorch: export it with torch.export, or take a ported network")

  def restore(y, seed):
    # Every example has draws of its own; which ones depends on the seed and its place alone.
    keys = jax.random.split(jax.random.key(seed), batch_size)
    z = jax.tree.map(lambda leaf: leaf[0], restorer.noise(keys, measurement_shape, 1))
    return jnp.clip(restorer.restore(y, z), 0, 1)

  y = jax.ShapeDtypeStruct((batch_size, *measurement_shape), jnp.float32)
  return jax_export.export(jax.jit(restore), platforms=platforms)(y, jax.ShapeDtypeStruct((), jnp.uint32))


def _measurement_shape(restorer, size):
  shape = getattr(restorer.degradation, "measurement_shape", None)
  return tuple(shape) if restorer.image_size and shape else (size, size, 3)


if __name__ == "__main__":
  run(main)
