"""TFDS's celeb_a, written to disk by TFDS itself with other images, read through the code users run."""

import io
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from prt_jax.data import prepare, tfds_source

SIZES = {"train": 40, "validation": 6, "test": 4}


def jpeg(number):
  """The encoded CelebA-sized image of a number; smooth, so that no two are alike."""
  coarse = np.random.default_rng(number).integers(0, 256, (5, 4, 3), dtype=np.uint8)
  file = io.BytesIO()
  Image.fromarray(coarse).resize((178, 218), Image.BICUBIC).save(file, "JPEG", quality=90)
  return file.getvalue()


def expected(number):
  """What training must see of it: the paper's preprocessing, by hand."""
  with Image.open(io.BytesIO(jpeg(number))) as image:
    return np.asarray(image.resize((102, 102), Image.BILINEAR))[19:83, 19:83]


def numbers_of(images):
  """Which numbers the images are of, in their order; each must equal its expected pixels exactly."""
  table = {expected(number).tobytes(): number for number in range(sum(SIZES.values()))}
  return [table[image.tobytes()] for image in images]


@pytest.fixture(scope="module")
def tfds():
  return pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def celeba_dir(tfds, tmp_path_factory):
  """A data_dir with celeb_a 2.1.0 in TFDS's own format, the real builder's features and split names."""
  real = tfds.builder_cls("celeb_a")

  with tfds.core.registered.skip_registration():

    class SmallCelebA(real):
      name = "celeb_a"
      pkg_dir_path = real.pkg_dir_path

      def _split_generators(self, dl_manager):
        starts = dict(zip(SIZES, np.cumsum([0, *SIZES.values()]), strict=False))
        return {name: self._generate_examples(int(starts[name]), size) for name, size in SIZES.items()}

      def _generate_examples(self, start, size):
        features = self.info.features
        for number in range(start, start + size):
          yield f"{number:06}.jpg", {
            "image": io.BytesIO(jpeg(number)),
            "landmarks": dict.fromkeys(features["landmarks"], 0),
            "attributes": dict.fromkeys(features["attributes"], False),
            "identity": dict.fromkeys(features["identity"], 1),
          }

  data_dir = tmp_path_factory.mktemp("tfds")
  SmallCelebA(data_dir=data_dir).download_and_prepare()
  return data_dir


@pytest.fixture
def celeba(make_data, celeba_dir):
  return make_data(source="tfds", name="celeb_a", path=str(celeba_dir), image_size=64, resize=102)


@pytest.fixture
def no_network(tfds, monkeypatch):
  """A look at the network fails rather than waits."""
  from tensorflow_datasets.core.download import downloader

  def refuse(*_, **__):
    raise ConnectionError("quota\nexceeded")

  monkeypatch.setattr(downloader._Downloader, "download", refuse)


def test_a_fifth_of_official_train_joins_validation(celeba, no_network):
  dataset = prepare(celeba)
  train, val = numbers_of(dataset.train), numbers_of(dataset.val)
  assert len(train) == 32 and set(train) < set(range(40))
  assert len(val) == 14 and set(val) == (set(range(40)) - set(train)) | set(range(40, 46))
  assert set(val[8:]) == set(range(40, 46))  # the official images come last


def test_the_order_is_the_same_each_time_and_the_fraction_is_obeyed(celeba, no_network):
  first, second = (numbers_of(tfds_source.read(celeba)["train"].images) for _ in range(2))
  assert first == second
  celeba.train_fraction = 1.0
  splits = tfds_source.read(celeba)
  assert splits["train"].count == len(list(splits["train"].images)) == 40
  assert set(numbers_of(splits["val"].images)) == set(range(40, 46))


def test_a_look_counts_what_reading_gives(celeba, make_data, tmp_path, monkeypatch, user_error):
  """From TFDS's files, and where there are none from its catalog; TensorFlow stays out."""
  for module in ("tensorflow", "tensorflow_datasets"):
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(__spec__=object()))
  found = tfds_source.look(celeba)
  assert found.counts == {"train": 32, "val": 14} and found.download_bytes == 0
  celeba.name = "celeb_a:9.9.9"  # not there
  assert tfds_source.look(celeba).download_bytes > 10**9
  absent = make_data(source="tfds", name="celeb_a", path=str(tmp_path / "empty"))
  found = tfds_source.look(absent)
  assert found.counts == {"train": 130_216, "val": 52_421} and "1.5 GB" in found.text  # the paper: about 52,400
  unknown = make_data(source="tfds", name="mine", path=str(tmp_path / "empty"))
  assert tfds_source.look(unknown)[:2] == (None, None)
  (tmp_path / "mine" / "1.0.0").mkdir(parents=True)
  (tmp_path / "mine" / "1.0.0" / "dataset_info.json").write_text('{"splits"')
  with user_error("dataset_info.json", "remove its folder"):
    tfds_source.look(make_data(source="tfds", name="mine", path=str(tmp_path)))
  monkeypatch.setattr(tfds_source.importlib.util, "find_spec", lambda name: None)
  with user_error("pip install -r requirements.txt", "--config.data.source=folder"):
    tfds_source.look(absent)


@pytest.mark.parametrize(("splits", "num_train", "num_val"), [(("train", "test"), 32, 12), (("train",), 36, 4)])
def test_other_sets_of_splits(tfds, make_data, tmp_path, splits, num_train, num_val):
  """`test` stands in for validation; without either a tenth of train does (fraction 1.0)."""
  write_plain_set(tfds, tmp_path, splits)
  data = make_data(source="tfds", name="plain_set", path=str(tmp_path), train_fraction=0.8 if num_val == 12 else 1.0)
  found = tfds_source.read(data)
  assert (found["train"].count, found["val"].count) == (num_train, num_val)
  images = {name: [image.tobytes() for image in split.images] for name, split in found.items()}
  assert len(set(images["train"] + images["val"])) == num_train + num_val


def write_plain_set(tfds, data_dir, splits):
  """A data set of one-channel PNG images with a label before the image, which no code of TFDS knows."""
  with tfds.core.registered.skip_registration():

    class PlainSet(tfds.core.GeneratorBasedBuilder):
      VERSION = tfds.core.Version("1.0.0")
      name = "plain_set"

      def _info(self):
        features = {"a_label": np.int64, "image": tfds.features.Image(shape=(8, 8, 1))}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

      def _split_generators(self, dl_manager):
        sizes = {"train": 40, "test": 4}
        return {name: self._generate_examples(100 * index, sizes[name]) for index, name in enumerate(splits)}

      def _generate_examples(self, start, size):
        for number in range(start, start + size):
          yield number, {"a_label": number, "image": np.full((8, 8, 1), number, np.uint8)}

  PlainSet(data_dir=data_dir).download_and_prepare()


def test_a_failed_download_names_the_manual_way_and_the_demo(make_data, tmp_path, user_error, no_network):
  data = make_data(source="tfds", name="celeb_a", path=str(tmp_path / "empty"), image_size=64, resize=102)
  with user_error(
    "celeb_a", "quota exceeded", "img_align_celeba.zip", "list_eval_partition.txt",
    "--config.data.source=folder --config.data.path=DIR", "--config=NAME:VARIANT,demo",
  ):  # fmt: skip
    prepare(data)
  assert not list((tmp_path / "cache").glob("tfds*"))


def test_damaged_files_of_tfds_are_named(celeba, celeba_dir, tmp_path, user_error, no_network):
  celeba.path = str(tmp_path / "copy")
  shutil.copytree(celeba_dir, celeba.path)
  (record_file,) = (tmp_path / "copy").rglob("*-train.tfrecord*")
  content = bytearray(record_file.read_bytes())
  content[len(content) // 2] ^= 255
  record_file.write_bytes(content)
  with user_error("celeb_a", tmp_path / "copy", "remove that folder"):
    prepare(celeba)


@pytest.mark.parametrize(
  ("name", "part"),
  [("no_such_set", "no data set 'no_such_set'"), ("celeb_a:9.9.9", "9.9.9"), ("iris", "image feature")],
)
def test_names_that_do_not_work(make_data, tmp_path, user_error, no_network, name, part):
  with user_error(part, "data.name"):
    tfds_source.read(make_data(source="tfds", name=name, path=str(tmp_path)))


def test_without_tfds_the_error_says_what_to_install(make_data, user_error, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
  with user_error("pip install -r requirements.txt", "extra [tensorflow]", "--config.data.source=folder"):
    prepare(make_data(source="tfds", name="celeb_a"))


def test_the_description_needs_no_tfds_and_covers_every_field(make_data, monkeypatch):
  celeba = make_data(source="tfds", name="celeb_a")
  for package in ("tensorflow", "tensorflow_datasets"):
    monkeypatch.setitem(sys.modules, package, None)
  first = tfds_source.describe(celeba)
  for field, value in {"name": "x", "path": "/x", "train_fraction": 0.5, "image_size": 4, "resize": 9}.items():
    changed = celeba.copy_and_resolve_references()
    changed[field] = value
    assert tfds_source.describe(changed) != first
