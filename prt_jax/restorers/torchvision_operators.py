"""torchvision beside a PyTorch that its binary was not made for.

spandrel imports torchvision for a rotation and a normalisation, both written in Python. Importing torchvision registers
the shapes of its compiled operators too, and fails ("operator torchvision::nms does not exist") where its binary cannot
be loaded: beside PyTorch's CPU build, say, since registries hold one binary, for CUDA. A declaration of the operators
is all that the import needs. One that is only declared fails when it is called, which no network of spandrel does.
"""

import importlib
import sys

# Those whose shapes are registered whether or not the binary was loaded, as torchvision declares them.
SCHEMAS = (
  "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
  "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries = []  # PyTorch forgets what a library declared when nothing refers to it any more


def import_torchvision() -> None:
  """Imports torchvision, its operators declared where its binary cannot be loaded.

  Raises:
    ImportError: it is not installed.
  """
  try:
    importlib.import_module("torchvision")
  except RuntimeError as error:
    if "torchvision::" not in str(error):
      raise
    _declare()
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
      del sys.modules[name]  # half of them refer to an import that was given up
    importlib.import_module("torchvision")


def _declare():
  import torch

  library = torch.library.Library("torchvision", "DEF")
  for schema in SCHEMAS:
    library.define(schema)
  _libraries.append(library)
