"""What --restorer names: loaded, of measurements of any size, in tiles."""

import argparse

from prt_jax.commands import mask_flag
from prt_jax.errors import UserError
from prt_jax.restorers.any_size import any_size
from prt_jax.restorers.by_name import describe_restorers, load_restorer
from prt_jax.restorers.ranges import in_range
from prt_jax.restorers.restorer import Restorer
from prt_jax.restorers.tiles import check_tiles, receptive_field, tiled
from prt_jax.restorers.torch_adapter import torch_device


class RestorerAction(argparse.Action):
  """Keeps the value; help prints what there is, and ends, as --help does."""

  def __call__(self, parser, namespace, values, option_string=None):
    """argparse's."""
    if values == "help":
      print(describe_restorers())
      parser.exit()
    namespace.restorer = values


def named_restorer(arguments: argparse.Namespace) -> Restorer:
  """What --restorer names, of measurements of any size, in tiles where --tile asks for them."""
  restorer = load_restorer(
    arguments.restorer, checkpoint=arguments.checkpoint, scale=arguments.scale, key=arguments.checkpoint_key,
    res_scale=arguments.res_scale, device=torch_device(arguments.device),
    mask=mask_flag.read(arguments.mask),
  )  # fmt: skip
  if arguments.range != "0..1" and ":" not in arguments.restorer:
    raise UserError(f"--range={arguments.range}: published networks and training runs take and return 0..1")
  restorer = in_range(restorer, arguments.range)
  if not arguments.tile and arguments.tile_overlap is not None:
    raise UserError("--tile_overlap belongs to --tile")
  if not arguments.tile:
    return any_size(restorer)
  halo = arguments.tile_overlap
  if halo is None:
    check_tiles(restorer, arguments.tile)
    field = receptive_field(restorer)
    halo = field.radius
    seen = "sees its whole measurement: tiles differ from one whole picture; 99.9% of what it sees lies" if (
      field.is_whole
    ) else "sees"
    print(f"{restorer.name} {seen} within {halo} pixels: tiles overlap by as much (--tile_overlap)", flush=True)
  return any_size(tiled(restorer, arguments.tile, halo, shows_progress=True))
