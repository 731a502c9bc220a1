"""What an audit's report says of all its images, and what about its numbers looks like a mistake."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.stats

from prt_jax import quality_bounds
from prt_jax.attacks.table import PAPERS, STRONGER, curve_attacks
from prt_jax.audit.attack_runs import middle
from prt_jax.audit.protocol import Protocol
from prt_jax.evaluation import statistics
from prt_jax.metrics import PSNR_CAP
from prt_jax.metrics.joint import joint_frechet_distance
from prt_jax.precision import MEASURING
from prt_jax.restorers.restorer import Restorer

OVERSHOOT = 0.5  # beyond black or white that a network has at edges, at most
FAR_BELOW = 3.0  # dB that even a network trained for looks alone is below bicubic interpolation, at most
INCONSISTENT = 20.0  # dB
UNFINISHED = 1.0  # dB that twice its steps gain an attack that has come to its end, at most
_RANGES = ("measured_range", "restored_range")
# Beside those that every curve has: of attacks that are judged, and of stochastic restorers.
_MEANS = ("late_gain_db", "fresh_robustness_db", "w1", "w1_coupled")
PATCH = 8  # pixels; side of the joint index's patches


@dataclasses.dataclass(frozen=True)
class Pictures:
  """What one image's audit looked at, float32 [h,w,3] in [0, 1] or about it.

  Attributes:
    original: x, or None.
    measurement: y.
    restored: f(y), the first seed's.
    attacked: (alpha, y + delta, f(y + delta)) of the papers' attack at the smallest bound and the middle one.

  Example:
    >>> grey = np.full((8, 8, 3), 0.5, np.float32)
    >>> Pictures(original=None, measurement=grey, restored=grey, attacked=[]).restored.shape
    (8, 8, 3)
  """

  original: np.ndarray | None
  measurement: np.ndarray
  restored: np.ndarray
  attacked: list[tuple[float, np.ndarray, np.ndarray]]


def scale_of(x: tuple[int, ...], y: tuple[int, ...]) -> int:
  """By how much larger the shape x (H,W,3) is than y (h,w,3), by one whole number along both sides; otherwise 1."""
  scale = max(1, x[0] // y[0])
  return scale if tuple(x[:2]) == (scale * y[0], scale * y[1]) else 1


def curve_fields(norm: str = "sup") -> dict[str, str]:
  """{field of the report: attack} of the curves over bounds in a norm."""
  own = {PAPERS[norm]: "robustness", STRONGER[norm]: "robustness_strong"}
  return {own.get(attack, f"robustness_{attack}"): attack for attack in curve_attacks(norm)}


def summarise(
  restorer: Restorer, protocol: Protocol, images: Sequence[dict], pictures: Sequence[Pictures],
  twice: Sequence[float] = (),
) -> dict:
  """What report.json holds: means over the images, dB averaged as dB; Lipschitz bounds are maxima.

  twice: what twice its steps gained the stronger attack, dB, at the middle bound, of each image that was tried.

  A quantity that could not be measured (no original, no degradation) is None. PSNRs count as at most PSNR_CAP. Beside
  the mean of one, NAME, stand NAME_median, NAME_minimum and NAME_num_exact, how many images are at the cap.
  """

  def known(name):
    return [image[name] for image in images if image.get(name) is not None]

  def mean(name):
    return float(np.mean(known(name))) if known(name) else None

  def curve(field):
    points = [image[field] for image in images]
    return [
      {
        "alpha": alpha,
        "input_psnr_db": float(np.mean([own[index]["input_psnr_db"] for own in points])),
        **_psnr_statistics("output_psnr_db", [own[index]["output_psnr_db"] for own in points]),
        "robustness_db": float(np.mean([own[index]["robustness_db"] for own in points])),
        **{name: float(np.mean([own[index][name] for own in points])) for name in _MEANS if name in points[0][index]},
        "lipschitz": max(own[index]["lipschitz"] for own in points),
        "lipschitz_worst_draw": max(own[index]["lipschitz_worst_draw"] for own in points),
      }
      for index, alpha in enumerate(protocol.alphas)
    ]

  report = {
    "restorer": restorer.name,
    "range": restorer.pixel_range,
    **{name: [min(image[name][0] for image in images), max(image[name][1] for image in images)] for name in _RANGES},
    "stochastic": restorer.stochastic,
    "num_images": len(images),
    "protocol": dataclasses.asdict(protocol)
    | {"precision": MEASURING["precision"] if restorer.traceable else "its own"},
    **_psnr_statistics("psnr_y_db", known("psnr_y_db")),
    **({"bicubic_psnr_y_db": mean("bicubic_psnr_y_db")} if known("bicubic_psnr_y_db") else {}),
    "border": sorted({image["border"] for image in images if "border" in image}),
    **_psnr_statistics("consistency_db", known("consistency_db")),
    **({"residual_over_noise": mean("residual_over_noise")} if protocol.noise_std else {}),
    "per_pixel_std": mean("per_pixel_std"),
    "lipschitz_lower_bound": max(image["lipschitz_lower_bound"] for image in images),
    "joint_index": joint_index(pictures),
    **{field: curve(field) for field in curve_fields(protocol.norm) if field in images[0]},
    **({"twice_the_steps": _twice(protocol, twice)} if twice else {}),
    "images": list(images),
  }
  floor = consistency_floors(restorer, report, pictures[0])
  return {**report, **({"exact_consistency": floor} if floor else {}), "remarks": remarks(report)}


def consistency_floors(restorer: Restorer, report: dict, picture: Pictures) -> dict | None:
  """What K and robustness of a report are read against: those of any restorer that agrees with y exactly.

  Returns:
    {"lipschitz": the least K, "lipschitz_beyond": what this restorer's K has beyond it, "robustness_above_input_db":
    the largest robustness less the input PSNR}; None where D is not known to be linear.
  """
  norm = getattr(restorer.degradation, "norm", None)
  if not norm:
    return None
  size = getattr(restorer.degradation, "psnr_size", picture.measurement.size)
  least = quality_bounds.consistency_floor(norm)
  return {
    "lipschitz": least,
    "lipschitz_beyond": quality_bounds.beyond_floor(report["lipschitz_lower_bound"], least),
    "robustness_above_input_db": quality_bounds.robustness_ceiling(0.0, norm, picture.restored.size, size),
  }


def remarks(report: dict) -> list[str]:
  """What about a report's numbers looks like a mistake in the use of the restorer: one line each, mostly none."""
  low, high = report["restored_range"]
  seen = f"the restorations reach from {low:.3g} to {high:.3g} where black is 0 and white 1"
  check = f"check the restorer's range (--range, pixel_range), channels and degradation; {seen}"
  found = []
  if low < -OVERSHOOT or high > 1 + OVERSHOOT:
    found.append(f"{seen}: if the restorer has another range, --range (pixel_range) says so")
  below = report.get("bicubic_psnr_y_db", -math.inf) - (report["psnr_y_db"] or 0)
  if below > FAR_BELOW:
    found.append(f"PSNR-Y is {below:.1f} dB below that of bicubic interpolation: {check}")
  consistency = math.inf if report["consistency_db"] is None else report["consistency_db"]
  if consistency < INCONSISTENT and "residual_over_noise" not in report:
    found.append(f"the restorations, degraded, agree with their measurements to {consistency:.1f} dB alone: {check}")
  twice = report.get("twice_the_steps")
  if twice and twice["gain_db"] > UNFINISHED:
    found.append(
      "the stronger attack had not come to its end: twice its steps changed the restorations by "
      f"{twice['gain_db']:.1f} dB more at {255 * twice['alpha']:.3g}/255: raise --num_strong_steps (num_strong_steps)"
    )
  return found


def _twice(protocol, gains):
  return {
    "alpha": middle(protocol.alphas), "num_images": len(gains), "gain_db": float(np.mean(gains)),
    "gain_db_maximum": float(np.max(gains)),
  }  # fmt: skip


def _psnr_statistics(name: str, values: Sequence[float]) -> dict:
  statistics = {"": np.mean, "_median": np.median, "_minimum": np.min}
  return {
    **{f"{name}{ending}": float(reduce(values)) if values else None for ending, reduce in statistics.items()},
    f"{name}_num_exact": sum(value >= PSNR_CAP for value in values),
  }


def joint_index(pictures: Sequence[Pictures]) -> dict | None:
  """The joint perceptual index by patches of raw pixels: no weights, no perception, but texture's statistics.

  The root of the Frechet distance between Gaussians fitted to (image patch, upsampled measurement patch) of the
  originals and of the restorations (the first seed's, clipped). Paper B's sqrt(JFID) has InceptionV3 features instead.

  Returns:
    {"value", "num_patches", "meaning"}; None without originals, where a measurement is no smaller image of its
    restoration, or with fewer patches than a covariance needs.

  Example:
    >>> y = np.random.default_rng(0).uniform(size=(80, 80, 3)).astype(np.float32)
    >>> x = y.repeat(2, 0).repeat(2, 1)
    >>> index = joint_index([Pictures(original=x, measurement=y, restored=x, attacked=[])])  # the original itself
    >>> print(round(index["value"], 6), index["num_patches"])
    0.0 400
  """
  patches = [_joint_patches(picture) for picture in pictures]
  if any(patch is None for patch in patches):
    return None
  x, x_hat, y = (np.concatenate(parts) for parts in zip(*patches, strict=True))
  if len(x) <= x.shape[1] + y.shape[1]:
    return None
  return {
    "value": joint_frechet_distance(x, y, x_hat) ** 0.5,
    "num_patches": len(x),
    "meaning": f"Root of the Frechet distance between {PATCH}x{PATCH} pixel patches of originals and restorations, "
    "each joined with its measurement: 0 where the restorations have the originals' texture and agree with the "
    "measurements. Second-order statistics of raw pixels, not FID features: compare values of the same images only.",
  }


def joint_index_interval(pictures: Sequence[Pictures], value: float) -> dict:
  """{"interval", "interval_kind"} of a joint index, by a jackknife over pictures; {} where a part of them gives none.

  It says nothing of the bias, which is upwards and falls with the number of patches.
  """
  groups = np.array_split(np.arange(len(pictures)), min(statistics.GROUPS, len(pictures)))
  if len(groups) < 2:
    return {}
  parts = [joint_index([picture for index, picture in enumerate(pictures) if index not in group]) for group in groups]
  if not all(parts):
    return {}
  values, spare = [part["value"] for part in parts if part], len(groups) - 1
  half = scipy.stats.t.ppf((1 + statistics.LEVEL) / 2, spare) * math.sqrt(spare * np.var(values))
  interval = [max(0.0, float(value - half)), float(value + half)]
  kind = f"{statistics.LEVEL:.0%} jackknife over {len(groups)} groups of images"
  return {"interval": interval, "interval_kind": kind}


def _joint_patches(picture):
  """[N, PATCH^2 3] of the original, the restoration and the upsampled measurement; None where they cannot be joined."""
  x, y = picture.original, picture.measurement
  if x is None or x.shape != picture.restored.shape or x.shape[0] % y.shape[0] or x.shape[1] % y.shape[1]:
    return None
  if min(x.shape[:2]) < PATCH:
    return None
  upsampled = y.repeat(x.shape[0] // y.shape[0], 0).repeat(x.shape[1] // y.shape[1], 1)
  rows, columns = x.shape[0] // PATCH, x.shape[1] // PATCH

  def cut(image):
    blocks = image[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH, 3)
    return blocks.swapaxes(1, 2).reshape(rows * columns, -1)

  return cut(x), cut(np.clip(picture.restored, 0, 1)), cut(upsampled)
