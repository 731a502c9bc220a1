"""The kinds of files that are thrown, and who must catch them: with a result, or with a UserError of one line."""

import collections
import contextlib
import io
import json
import pathlib
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from prt_jax import compare
from prt_jax.data import decode
from prt_jax.data.preprocess import alpha_of, preprocess, to_rgb
from prt_jax.errors import UserError
from prt_jax.io.file_digests import DIGESTS, Damaged, check_digests
from prt_jax.io.weight_files.npz import open_npz
from prt_jax.io.weight_files.stored_tensor import read_all
from prt_jax.io.weight_files.torch_checkpoint import open_state_dict
from prt_jax.reporting import evaluation_report
from prt_jax.restorers.from_run import load_run
from prt_jax.training.checkpoints import check_workdir
from prt_jax.training.data_identity import check_data
from prt_jax.training.writers import keep_lines_until
from tests import tiny
from tests.fuzz.mutations import changed_json, mutated

# In memory: a hundred thousand files are written.
FOLDER = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None))


class Kind(NamedTuple):
  """Attributes:
  cases: a strategy of (which reader, the content of a file).
  readers: by name; each raises nothing but UserError.
  """

  cases: st.SearchStrategy
  readers: dict[str, Callable[[bytes], None]]

  def check(self, case: tuple[str, bytes]) -> None:
    """AssertionError where a reader's error is not one line; whatever else it raises passes."""
    name, content = case
    try:
      self.readers[name](content)
    except UserError as error:
      text = str(error)
      assert text.isprintable() and 10 < len(text) < 2500, text[:3000]


def written(name, content):
  path = FOLDER / name
  path.write_bytes(content)
  return path


def read_weights(name):
  def read(content):
    opened = open_npz if name.endswith(".npz") else open_state_dict
    with opened(written(name, content)) as tensors:
      read_all(tensors, name)

  return read


def zipped(members, method=zipfile.ZIP_STORED):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", method) as archive:
    for name, content in members.items():
      archive.writestr(name, content)
  return buffer.getvalue()


def torch_pickle(protocol=2):
  """A state dict of two tensors, as torch.save writes it, without torch."""

  class Global:
    def __init__(self, name):
      self.name = name

    def __reduce__(self):
      return self.name

  class Pickler(pickle._Pickler):
    dispatch = pickle._Pickler.dispatch | {Global: lambda self, item: self.write(b"c" + item.name + b"\n")}

    def persistent_id(self, item):
      return item[1:] if isinstance(item, tuple) and item[:1] == ("persistent",) else None

  class Call:
    def __init__(self, *arguments):
      self.arguments = arguments

  def save_call(self, item):
    self.write(b"c" + item.arguments[0] + b"\n")
    self.save(item.arguments[1:])
    self.write(pickle.REDUCE)

  Pickler.dispatch[Call] = save_call
  buffer = io.BytesIO()
  storage = ("persistent", "storage", Global(b"torch\nFloatStorage"), "0", "cpu", 6)
  hooks = Call(b"collections\nOrderedDict")
  tensor = Call(b"torch._utils\n_rebuild_tensor_v2", storage, 0, (2, 3), (3, 1), False, hooks)
  scalar = Call(b"torch._utils\n_rebuild_tensor_v2", storage, 5, (), (), False, None)
  Pickler(buffer, protocol).dump({"epoch": 3, "params": collections.OrderedDict({"w": tensor, "b": scalar}) | {}})
  return buffer.getvalue()


def weight_files():
  values = np.arange(6, dtype="<f4").tobytes()
  members = {"w/data.pkl": torch_pickle(), "w/byteorder": b"little", "w/data/0": values}
  legacy = b"".join(pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
  legacy += torch_pickle() + pickle.dumps(["0"], 2) + (6).to_bytes(8, "little") + values
  header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
  npz = io.BytesIO()
  np.savez_compressed(npz, w=np.arange(6.0).reshape(2, 3), b=np.arange(2, dtype=np.float32))
  return {
    "w.pth": [zipped(members), zipped(members, zipfile.ZIP_DEFLATED), legacy],
    "w.safetensors": [len(header).to_bytes(8, "little") + header + values],
    "w.npz": [npz.getvalue()],
  }


def pickles_in_zip():
  """Programs of opcodes, with a state dict's own among them, in archives that are whole."""
  opcodes = st.sampled_from([bytes([code]) for code in range(256)])
  programs = st.lists(opcodes | st.binary(max_size=5) | st.just(torch_pickle()[2:-1]), max_size=30).map(b"".join)
  whole = st.builds(lambda program: b"\x80\x02" + program + b".", programs) | mutated([torch_pickle(), torch_pickle(4)])
  return whole.map(lambda program: zipped({"w/data.pkl": program, "w/data/0": bytes(24)}))


def read_image(content):
  for encoded in (content, str(written("image.png", content))):
    image = decode.load_image(encoded, "image.png")
    alpha_of(image)
    preprocess(to_rgb(image), 4, 0)


def image_files():
  rng = np.random.default_rng(0)
  files = []
  for mode, channels in (("RGB", 3), ("RGBA", 4), ("L", 0)):
    image = Image.fromarray(rng.integers(0, 256, (9, 7, channels) if channels else (9, 7), dtype=np.uint8), mode)
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"):
      if (mode, kind) in (("RGBA", "JPEG"), ("RGBA", "PPM")):
        continue
      buffer = io.BytesIO()
      image.save(buffer, kind)
      files.append(buffer.getvalue())
  return files


def read_config(content):
  written("config.json", content)
  for read in (lambda: check_workdir(FOLDER, tiny.get_config()), lambda: load_run(FOLDER)):
    try:
      read()
    except UserError as error:
      last = error
  raise last if "last" in locals() else UserError("it is the very config")


class _Dataset:
  fingerprint, digests, train, val = "f", {"train": "a", "val": "b"}, [0] * 3, [0] * 2


def read_report(content):
  written("report.json", content)
  try:
    compare.find(str(FOLDER))
  finally:
    evaluation_report.read(FOLDER, {"data": "abc"})


def read_data(content):
  written("data.json", content)
  check_data(FOLDER, _Dataset)


def read_digests(content):
  written(DIGESTS, content)
  with contextlib.suppress(Damaged):
    check_digests(FOLDER)


def read_metrics(content):
  path = written("metrics.jsonl", content)
  keep_lines_until(path, 6)
  for line in path.read_text().splitlines():
    assert json.loads(line)["step"] <= 6


def report_document():
  results = {
    "frechet": {"value": 12.3, "n": 10, "label": "Frechet distance, x"}, "psnr_db": {"value": 25, "n": 10},
  }  # fmt: skip
  return {
    "run": "a", "variant": "stochastic-robust", "task": "inpainting", "step": 9, "results": results, "missing": [],
    "published": {"source": "paper A", "values": {"psnr_db": 26.1}}, "hardware": "1 x cpu (cpu)",
    "protocol": {"data": "abc", "eval": {"num_examples": 10}, "attack": {"eps": 1.0, "num_steps": 5}},
  }  # fmt: skip


def of(reader, cases):
  return st.tuples(st.just(reader), cases)


WEIGHTS = weight_files()
CONFIG = json.loads(tiny.get_config().to_json())
DATA = {"fingerprint": "g", "counts": {"train": 3, "val": 2}, "digests": {"train": "a", "val": "c"}}
LINES = b'{"step": 3, "loss": 1.0}\n{"step": 6, "loss": 0.5}\n{"step": 9, "loss": 0.5}\n'
KINDS = {
  "weights": Kind(
    st.one_of(of("w.pth", pickles_in_zip()), *(of(name, mutated(files)) for name, files in WEIGHTS.items())),
    {name: read_weights(name) for name in WEIGHTS},
  ),
  "images": Kind(of("image", mutated(image_files())), {"image": read_image}),
  "configs": Kind(of("config", changed_json([CONFIG])), {"config": read_config}),
  "reports": Kind(
    st.one_of(
      of("report", changed_json([report_document()])), of("data", changed_json([DATA])),
      of("digests", changed_json([{"digests.json": "abc", "a/b": "c"}])),
      of("metrics", mutated([LINES]) | st.lists(changed_json([{"step": 3, "loss": 1.0}]), max_size=3).map(b"\n".join)),
    ),
    {"report": read_report, "data": read_data, "digests": read_digests, "metrics": read_metrics},
  ),
}  # fmt: skip
