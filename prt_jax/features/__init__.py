"""Features of images for distances between distributions, and the readers of their weights."""

from prt_jax.features.extractors import Extractor, make_extractor
from prt_jax.io.weight_files.torch_checkpoint import load_state_dict

__all__ = ["Extractor", "load_state_dict", "make_extractor"]
