"""The published networks that experiments load: their authors' files, what they were trained for, where from."""

import pathlib
from typing import NamedTuple

from prt_jax.errors import UserError
from prt_jax.restorers import Restorer
from prt_jax.restorers.any_size import any_size
from prt_jax.restorers.by_name import load_restorer


class Network(NamedTuple):
  """Attributes:
  files: {scale: the name of its authors' file}; None for a file: it has no weights.
  trained_for: "distortion", "GAN", "likelihood", or "interpolation", which is not trained.
  source: where the authors' files are.
  restorer: what --restorer calls it; "": as it is called here.
  """

  files: dict[int, str | None]
  trained_for: str
  source: str = ""
  restorer: str = ""


NETWORKS = {
  "bicubic": Network({2: None, 3: None, 4: None}, "interpolation"),
  "imdn": Network({2: "IMDN_x2.pth", 3: "IMDN_x3.pth", 4: "IMDN_x4.pth"}, "distortion", "github.com/Zheng222/IMDN"),
  "pan": Network({4: "PANx4_DF2K.pth"}, "distortion", "github.com/zhaohengyuan1/PAN"),
  "carn_m": Network(dict.fromkeys((2, 3, 4), "carn_m.pth"), "distortion", "github.com/nmhkahn/CARN-pytorch"),
  "safmn": Network({4: "SAFMN_x4_NTIRE2023.pth"}, "distortion", "github.com/sunny2109/SAFMN", "spandrel"),
  "edsr": Network(
    {2: "edsr_x2-0edfb8a3.pt", 3: "edsr_x3-ea3ef2c6.pt", 4: "edsr_x4-4f62e9ef.pt"},
    "distortion", "github.com/sanghyun-son/EDSR-PyTorch",
  ),
  "edsr_baseline": Network(
    {2: "edsr_baseline_x2-1bc95232.pt", 3: "edsr_baseline_x3-abf2a44e.pt", 4: "edsr_baseline_x4-6b446fab.pt"},
    "distortion", "github.com/sanghyun-son/EDSR-PyTorch", "edsr",
  ),
  "srgan": Network({4: "srgan_x4.pth"}, "GAN", "github.com/leftthomas/SRGAN"),
  "compact": Network({4: "realesr-animevideov3.pth"}, "GAN", "github.com/xinntao/Real-ESRGAN"),
  "esrgan": Network({4: "RRDB_ESRGAN_x4.pth"}, "GAN", "github.com/xinntao/ESRGAN"),
  "srflow": Network({4: "SRFlow_DF2K_4X.pth"}, "likelihood", "github.com/andreas128/SRFlow"),
}  # fmt: skip


def at_hand(weights: pathlib.Path | None, scale: int) -> list[str]:
  """The networks of a scale whose files a folder holds, and those that need none."""
  return [
    name for name, network in NETWORKS.items()
    if scale in network.files and (network.files[scale] is None or file_of(name, weights, scale).is_file())
  ]  # fmt: skip


def file_of(name: str, weights: pathlib.Path | None, scale: int) -> pathlib.Path:
  """Where a network's file should be; UserError for one without."""
  file = NETWORKS[name].files.get(scale)
  if not file:
    raise UserError(f"{name} has no weights of x{scale}")
  return (weights or pathlib.Path()) / file


def check_names(names: list[str], weights: pathlib.Path | None, scale: int) -> None:
  """UserError for a network that is not known, or whose file is not there: says which file, and whose."""
  for name in names:
    if name not in NETWORKS or scale not in NETWORKS[name].files:
      known = ", ".join(key for key, network in NETWORKS.items() if scale in network.files)
      raise UserError(f"--networks={name}: it is none of {known}, which are those of x{scale}")
    if name not in at_hand(weights, scale):
      file = file_of(name, weights, scale)
      raise UserError(f"{name} needs its authors' file {file.name} in --weights={weights}: {NETWORKS[name].source}")


def load(name: str, weights: pathlib.Path | None, scale: int) -> Restorer:
  """A network with its authors' weights, of measurements of any size."""
  network = NETWORKS[name]
  checkpoint = network.files[scale] and file_of(name, weights, scale)
  restorer = network.restorer or name
  # spandrel reads the scale off the file.
  return any_size(load_restorer(restorer, checkpoint=checkpoint, scale=None if restorer == "spandrel" else scale))
