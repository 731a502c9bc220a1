"""audit(restore, y), and what it is made of: an Auditor goes over images and reports what it has seen so far."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from prt_jax import devices
from prt_jax.attacks.table import STRONGER
from prt_jax.audit.attack_runs import NUM_TWICE, TWICE, at_bound, attack_runs, middle, shown
from prt_jax.audit.protocol import Protocol
from prt_jax.audit.summary import Pictures, curve_fields, joint_index_interval, scale_of, summarise
from prt_jax.data.image_pairs import Pair
from prt_jax.errors import UserError
from prt_jax.evaluation import distributions, measured_parts, results
from prt_jax.evaluation.extraction import make_features
from prt_jax.evaluation.measured_parts import Part
from prt_jax.evaluation.measures import Settings
from prt_jax.evaluation.runner import DEVICES, ONE, Runner
from prt_jax.evaluation.store import Store, digest_of
from prt_jax.features.extractor import Extractor
from prt_jax.metrics import psnr_y
from prt_jax.pixels import as_pixels
from prt_jax.precision import in_float32
from prt_jax.restorers.bicubic import bicubic_upsample
from prt_jax.restorers.ranges import in_range
from prt_jax.restorers.restorer import FunctionDegradation, Restorer, as_restorer


def audit(
  restore: Any,
  y: Any,
  *,
  x: Any = None,
  degrade: Callable | None = None,
  draw_noise: Callable | None = None,
  pixel_range: str = "0..1",
  extractor: Extractor | None = None,
  reference: Sequence[np.ndarray] | None = None,
  **protocol: Any,
) -> dict:
  """Audits a restorer on measurements.

  Args:
    restore: a function y [B,h,w,3] -> x [B,H,W,3], or (y, z) -> x with draw_noise; a PyTorch module; a Restorer.
      Pixels in [0, 1].
    y: measurements [B,h,w,3], or a list of [h,w,3] of several sizes; in [0, 1], or uint8.
    x: the originals, alike, for the distortion; None where they are not known.
    degrade: the degradation without its noise, x [B,H,W,3] -> y [B,h,w,3], for the consistency; None: the restorer's
      own if it is a Restorer, otherwise consistency is not judged.
    draw_noise: see Restorer; makes a function of (y, z) stochastic.
    pixel_range: of what the restorer itself takes and returns, see ranges.in_range; y and x are in [0, 1] anyhow.
    extractor: of the features for Frechet distance, precision, recall, density and coverage (features.extractors).
    reference: images [H,W,3] in [0, 1] that restorations should resemble as a set; None: the originals.
    **protocol: the fields of Protocol.

  Returns:
    what report.json holds: JSON-able, means over the images, each field as summarise says.

  Raises:
    UserError: outputs of a wrong shape, NaN, pixels of y or x in another range, or a field of the protocol that cannot
      work.

  Example:
    >>> y = jnp.full((1, 16, 16, 3), 0.5)
    >>> report = audit(lambda y: 0.5 * y, y, alphas=(0.1,), num_steps=2)
    >>> print(round(report["lipschitz_lower_bound"], 3))
    0.5
  """
  restorer = as_restorer(restore, draw_noise=draw_noise, degrade=degrade)
  if degrade is not None:
    restorer = dataclasses.replace(restorer, degradation=FunctionDegradation(degrade))
  restorer = in_range(restorer, pixel_range)
  originals = [None] * len(y) if x is None else list(x)
  if not len(y):
    raise UserError("there is nothing to audit: no measurement was given")
  if len(originals) != len(y):
    raise UserError(f"audit got {len(y)} measurements and {len(originals)} originals: give one original a measurement")
  pairs = []
  for index, (measurement, original) in enumerate(zip(y, originals, strict=True)):
    name = f"image {index}"
    original = None if original is None else np.asarray(as_pixels(original, f"the original of {name}"))
    measurement = np.asarray(as_pixels(measurement, f"the measurement of {name}"))
    if measurement.ndim != 3:
      raise UserError(f"the measurement of {name} has shape {measurement.shape}: give y as [B,h,w,3]")
    pairs.append(Pair(name, original, measurement))
  auditor = Auditor(restorer, Protocol(**protocol), extractor=extractor, reference=reference)
  for _ in auditor.audit(pairs):
    pass
  return auditor.report()


def _stacked(images):
  return None if images[0] is None else np.stack(images)


class Auditor:
  """One audit: goes over images, batch by batch, and reports what it has seen so far.

  Images of one size go over all devices, with a restorer that can be traced; others one at a time.

  Example:
    >>> restorer = as_restorer(lambda y: 0.5 * y, name="half as bright")
    >>> auditor = Auditor(restorer, Protocol(alphas=(0.1,), num_steps=2))
    >>> y = np.full((16, 16, 3), 0.5, np.float32)
    >>> print([image["name"] for image in auditor.audit([Pair("grey", None, y)])])
    ['grey']
    >>> print(auditor.report()["restorer"])
    half as bright
  """

  def __init__(
    self, restorer: Restorer, protocol: Protocol, *, extractor: Extractor | None = None, lpips: dict | None = None,
    reference: Sequence[np.ndarray] | None = None, store: Store | None = None,
  ):
    self.restorer, self.protocol, self._extractor, self._reference = restorer, protocol, extractor, reference
    self._lpips = lpips  # SqueezeNet's weights, for the LPIPS-style distance
    # What cannot be told from a later self is not kept.
    self._store = store if store and restorer.identity else Store(None)
    self._weights = digest_of(restorer.params) if restorer.identity else ""
    self._programs, self._columns = {}, {}
    self.images, self.pictures, self._twice = [], [], []

  def audit(self, pairs: Sequence[Pair]) -> Iterator[dict]:
    """Audits images one after the other: yields what was measured on each, JSON-able. A pair without y is measured by
    the restorer's own degradation."""
    pairs = list(pairs)
    shapes = {(pair.x is None or pair.x.shape, pair.y is None or pair.y.shape) for pair in pairs}
    spread = self.restorer.traceable and len(shapes) == 1
    size = devices.num_devices() if spread else 1
    for first in range(0, len(pairs), size):
      places = np.minimum(np.arange(first, first + size), len(pairs) - 1)
      yield from self._audit([pairs[place] for place in places], places, DEVICES if size > 1 else ONE)

  @in_float32
  def _audit(self, padded: list[Pair], places: np.ndarray, where: str) -> list[dict]:
    """The images of some places, the last of which may be repeated to fill the devices."""
    devices.release_programs()  # images of any number of sizes
    protocol, mine = self.protocol, padded[: len(np.unique(places))]
    # An image's random numbers depend on its own number, or else on its place alone.
    numbers = [place if pair.number is None else pair.number for place, pair in zip(places, padded, strict=True)]
    examples = np.array(numbers, np.int64)
    x, y = (_stacked([getattr(pair, name) for pair in padded]) for name in ("x", "y"))
    shape = self._measurement_shape(x) if y is None else y.shape[1:]
    border = None if x is None else _border(self.restorer, x.shape[1:], shape, protocol)
    size = getattr(self.restorer.degradation, "psnr_size", math.prod(shape))
    runner = Runner(
      self.restorer, protocol.num_seeds if self.restorer.stochastic else 1,
      Settings(size, border, protocol.noise_std**2 or None, self._lpips), protocol.seed, where, self._programs,
    )
    key = measured_parts.common_key(runner, "images", self._weights)
    parts = self._parts(runner, key, size, first := int(places[0]), len(mine), has_original=x is not None)
    keys = [
      {"original": digest_of(pair.x), "measurement": digest_of(pair.y), "example": int(index)}
      for pair, index in zip(mine, examples, strict=False)
    ]
    columns = measured_parts.fill_each(self._store, parts, keys, lambda: runner.begin(x, y, examples))
    pictures = columns.pop("pictures")
    if twice := columns.pop(TWICE, None):
      strong = columns[at_bound(middle(protocol.alphas), STRONGER[protocol.norm])]["output_psnr_db"]
      self._twice = [*self._twice, *(strong - twice["output_psnr_db"]).tolist()][:NUM_TWICE]
    for part in parts:
      for name, values in columns.get(part.name, {}).items():
        # An evaluation measures some parts of its first images alone.
        self._columns.setdefault(part.name, {}).setdefault(name, []).append(values[: part.count - first])
    found = [self._image(pair, columns, pictures, index, border) for index, pair in enumerate(mine)]
    self.images += found
    return found

  def _measurement_shape(self, x):
    return self.restorer.degradation.clean(x[:1]).shape[1:]

  def _parts(
    self, runner: Runner, key: dict, size: int, first: int, count: int, *, has_original: bool
  ) -> list[Part]:
    """What is measured of so many images, from the first of that place on."""
    protocol, names, last = self.protocol, shown(self.protocol).values(), first + count
    runs = {run.name: run for run in attack_runs(protocol, self.restorer.training_attack, size, last)}
    parts = [measured_parts.plain_part(runner, key, last, protocol.num_std_seeds or protocol.num_seeds)]
    parts += [
      measured_parts.attack_part(runner, key, run, search=runs.get("search"), keeps_sample=run.name in names)
      for run in runs.values() if run.count > first
    ]  # fmt: skip
    if protocol.num_jacobian_steps:
      parts.append(measured_parts.jacobian_part(runner, key, last, protocol.num_jacobian_steps))
    if self._lpips and has_original:
      parts.append(measured_parts.lpips_part(runner, key, last))
    if self._extractor:
      parts.append(measured_parts.features_part(runner, key, last, self._extractor))
    return [*parts, self._pictures_part(runner, key, [runs[name] for name in names], last)]

  def _pictures_part(self, runner, key, runs, count):
    """What the gallery shows and the joint index needs; attacked ones in half precision, to be looked at."""

    def compute(batch, left):
      columns = {"measured": batch.y, "restored": batch.restored[:, 0]}
      for number, run in enumerate(runs):
        if (run.name, "sample") not in left:
          measured_parts.attack_part(runner, key, run, keeps_sample=True).compute(batch, left)
        sample = left[run.name, "sample"]
        columns[f"attacked_y_{number}"] = sample.attacked_y.astype(np.float16)
        columns[f"attacked_{number}"] = sample.attacked[:, 0].astype(np.float16)
      return devices.gather_examples(columns)

    fields = {
      "shown": [run.name for run in runs], "num_steps": self.protocol.num_steps,
      "num_restarts": self.protocol.num_restarts, "num_seeds": runner.num_seeds,
    }  # fmt: skip
    return Part("pictures", key | fields, count, compute)

  def _image(self, pair, columns, pictures, index, border) -> dict:
    """One image's numbers, and its pictures kept."""
    y, restored = pictures["measured"][index], pictures["restored"][index]
    attacked = [
      (
        alpha, np.asarray(pictures[f"attacked_y_{number}"][index], np.float32),
        np.asarray(pictures[f"attacked_{number}"][index], np.float32),
      )
      for number, alpha in enumerate(shown(self.protocol))
    ]
    self.pictures.append(Pictures(pair.x, y, restored, attacked))
    plain = {name: float(values[index]) for name, values in columns["plain"].items()}
    low, high = plain.pop("restored_minimum"), plain.pop("restored_maximum")
    image = {"name": pair.name, "psnr_y_db": None, "consistency_db": None, **plain}
    image |= {"measured_range": [float(y.min()), float(y.max())], "restored_range": [low, high]}
    if pair.x is not None:
      image["border"] = border
      if (scale := scale_of(pair.x.shape, y.shape)) > 1:
        image["bicubic_psnr_y_db"] = psnr_y(np.asarray(bicubic_upsample(y[None], scale))[0].clip(0, 1), pair.x, border)
    for field, attack in curve_fields(self.protocol.norm).items():
      points = [
        {"alpha": alpha} | {n: float(values[index]) for n, values in columns[at_bound(alpha, attack)].items()}
        for alpha in self.protocol.alphas if at_bound(alpha, attack) in columns
      ]  # fmt: skip
      if points:
        image[field] = points
    attacks = [own["lipschitz_worst_draw"][index] for own in columns.values() if "lipschitz_worst_draw" in own]
    image["lipschitz_from_attacks"] = float(max(attacks))
    jacobian = columns.get("jacobian")
    image["lipschitz_from_jacobian"] = float(jacobian["lipschitz_from_jacobian"][index]) if jacobian else None
    image["lipschitz_lower_bound"] = max(image["lipschitz_from_attacks"], image["lipschitz_from_jacobian"] or 0.0)
    return image

  def report(self, *, complete: bool = True) -> dict:
    """What report.json holds, of the images so far; unless complete without distances between sets of them."""
    columns = {
      part: {name: np.concatenate(values) for name, values in own.items()} for part, own in self._columns.items()
    }
    found, missing = results.of_columns(columns), []
    if complete and self._extractor and (sets := self._sets(self._extractor, columns.get("features", {}), missing)):
      found |= distributions.compare(sets, self.protocol.num_neighbors, self._extractor)
    report = summarise(self.restorer, self.protocol, self.images, self.pictures, self._twice)
    if complete and report["joint_index"]:
      report["joint_index"] |= joint_index_interval(self.pictures, report["joint_index"]["value"])
    report |= {"results": found, "curves": results.curves(columns, [255 * alpha for alpha in self.protocol.alphas])}
    rows = results.rows()
    report["definitions"] = {name: rows[name].definition for name in found}
    return report | {"missing": missing}

  def _sets(self, extractor: Extractor, features: dict, missing: list[str]) -> distributions.Sets | None:
    """The features that are compared; None where there are too few images, which is added to missing."""
    if self._reference is None and "original" not in features:
      missing.append("distances between sets of images are left out: there are no originals and no reference images")
      return None
    few = min(len(self.images), len(self.images if self._reference is None else self._reference))
    least = max(self.protocol.min_images, self.protocol.num_neighbors + 1)
    if few < least:
      missing.append(
        f"Frechet distance, precision, recall, density and coverage are left out: they need {least} images "
        f"(min_images), there are {few}"
      )
      return None
    if self._reference is not None and "reference" not in self._programs:
      runner = Runner(self.restorer, 1)
      extract = make_features(extractor, runner)
      images = [np.asarray(image, np.float32)[None] for image in self._reference]
      self._programs["reference"] = np.concatenate([extract(runner.split(image)) for image in images])
    reference = features["original"] if self._reference is None else self._programs["reference"]
    features = {name: rows for name, rows in features.items() if len(rows) == len(self.images)}
    return distributions.Sets(**features, reference=reference)


def _border(restorer, x, y, protocol):
  """The protocol's border for images of shapes x and y, in pixels."""
  if protocol.border is not None:
    return protocol.border
  scale = scale_of(x, y)
  return 0 if restorer.image_size or scale == 1 else scale
