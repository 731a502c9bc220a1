"""Serves a page on which a restorer is looked at, attacked and explored.

  python -m prt_jax.view RUN_OR_RESTORER [--checkpoint=FILE] [--input=DIR]

RUN_OR_RESTORER is what --restorer of prt_jax.audit takes: a workdir, a network, spandrel, package.module:function; help
lists them. The page is served on this machine alone (http://127.0.0.1:7860), unless --host says otherwise. Ctrl-C ends
it.
"""

import argparse

import numpy as np

from prt_jax.commands.named_restorer import named_restorer
from prt_jax.commands.parser import Parser, run
from prt_jax.commands.restorer_flags import use_all_cores
from prt_jax.data.image_pairs import read_images
from prt_jax.devices import PLATFORMS, use_platform
from prt_jax.errors import UserError
from prt_jax.restorers.by_name import DEFAULT_SCALE, describe_restorers
from prt_jax.restorers.from_run import read_config
from prt_jax.viewer.viewing import Viewer

EXAMPLES = ("astronaut", "chelsea", "coffee")  # photographs in scikit-image's wheel
NUM_EXAMPLES = 4  # of a folder


def main(argv: list[str]) -> None:
  """Serves the page until it is stopped."""
  arguments = parse(argv)
  viewer, examples = make_viewer(arguments), read_examples(arguments.input)
  try:
    from prt_jax.viewer.page import launch, make_page
  except ImportError as error:
    raise UserError(f"the viewer needs {error.name}: pip install 'prt_jax[view]'") from None
  page = make_page(viewer, examples)
  print(f"{viewer.restorer.name}: http://{arguments.host}:{arguments.port} (Ctrl-C ends it)", flush=True)
  try:
    launch(page, host=arguments.host, port=arguments.port, max_upload=arguments.max_upload)
  except OSError as error:
    where = f"port {arguments.port} of {arguments.host}"
    raise UserError(f"{where} cannot be used ({error}): choose another --port") from None


def parse(argv: list[str]) -> argparse.Namespace:
  """The arguments; UserError for a mistake."""
  parser = Parser(__doc__)
  parser.add_argument("restorer", metavar="RUN_OR_RESTORER")
  parser.add_argument("--checkpoint", help="weights of a network, never executed; of a workdir a step, or best")
  parser.add_argument("--checkpoint_key", help="which state dict, where the file holds several (params_ema)")
  parser.add_argument("--res_scale", type=float, help="edsr: factor of its residual branches")
  parser.add_argument(
    "--scale", type=int, help=f"magnification, where the restorer does not say it; default {DEFAULT_SCALE}"
  )
  parser.add_argument("--range", default="0..1", help="pixels of a package.module:function, as in prt_jax.audit")
  parser.add_argument("--device", choices=PLATFORMS, help="where to compute")
  parser.add_argument("--input", help="folder of pictures to choose from; default: photographs of scikit-image's")
  parser.add_argument(
    "--max_side", type=int, default=64, help="pixels; of a larger measurement the middle is taken; default 64"
  )
  parser.add_argument(
    "--host", default="127.0.0.1", help="address to serve on; 0.0.0.0 = to every machine that reaches this one"
  )
  parser.add_argument("--port", type=int, default=7860, help="default 7860")
  parser.add_argument("--max_upload", type=int, default=10, help="megabytes of an uploaded picture; default 10")
  if argv == ["help"]:
    print(describe_restorers())
    parser.exit()
  arguments = parser.parse_args(argv)
  if min(arguments.max_side - 15, arguments.max_upload, arguments.port + 1, (arguments.scale or 1)) < 1:
    raise UserError("--max_side must be at least 16, --max_upload and --scale at least 1, --port not negative")
  arguments.tile, arguments.tile_overlap, arguments.mask = 0, None, None
  return arguments


def make_viewer(arguments: argparse.Namespace) -> Viewer:
  """The restorer that the arguments name, to be looked at."""
  use_all_cores(arguments)
  if arguments.device:
    use_platform(arguments.device)
  restorer = named_restorer(arguments)
  resize = read_config(arguments.restorer).data.resize if restorer.image_size else 0
  return Viewer(restorer, resize, arguments.max_side, arguments.scale or DEFAULT_SCALE)


def read_examples(folder: str | None) -> list[tuple[str, np.ndarray]]:
  """Pictures to choose from: (name, uint8 [H,W,3])."""
  if folder:
    images = zip(read_images(folder), range(NUM_EXAMPLES), strict=False)
    return [(path.stem, np.asarray(image)) for (path, image, _), _ in images]
  import skimage.data

  return [(name, np.asarray(getattr(skimage.data, name)())) for name in EXAMPLES]


if __name__ == "__main__":
  run(main)
