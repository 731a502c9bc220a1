"""What the page shows, without the page: a picture is measured, restored, attacked, explored.

Pictures go out as uint8, measurements enlarged by replication to the restoration's size: a pixel is seen as one.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from prt_jax.attacks.table import ATTACKS
from prt_jax.commands.degradation_flag import named_measuring
from prt_jax.data.image_pairs import MIN_SIDE
from prt_jax.data.preprocess import preprocess
from prt_jax.errors import UserError
from prt_jax.evaluation.checked_calls import in_restorers_code
from prt_jax.evaluation.exploration import explore, pairwise_distances, radius
from prt_jax.evaluation.measured_parts import DIRECTION_STEPS
from prt_jax.evaluation.measures import MEASURES, Settings
from prt_jax.evaluation.runner import Runner
from prt_jax.io.pictures import STD_GAIN, eight_bits
from prt_jax.precision import in_float32
from prt_jax.restorers.by_name import DEFAULT_SCALE
from prt_jax.restorers.restorer import FunctionDegradation, Restorer

# How a change of the measurement is bounded: what the slider says, its range and start, and the attack that obeys.
BOUNDS = {
  "alpha": ("sup norm alpha, in 1/255", 0.5, 32.0, 4.0, "strong_sup"),
  "eps": ("L2 norm eps, as the PSNR of the changed measurement, dB", 20.0, 60.0, 40.0, "strong_l2"),
}
DIFFERENCE_GAIN = 4  # a change of a quarter is drawn white or black
SMALLEST_SHOWN = 256  # pixels; smaller pictures are enlarged by replication


class Seen(NamedTuple):
  """A picture on the page.

  Attributes:
    x: the original [H,W,3] float32 in [0, 1]; None where the picture is the measurement.
    y: the measurement [h,w,3].
    degradation: what x was measured by.
    seed: of the measurement's noise, of draws and of attacks.
  """

  x: np.ndarray | None
  y: np.ndarray
  degradation: str
  seed: int


class Shown(NamedTuple):
  """Attributes:
  images: [(title, uint8 [H,W,3]), ...].
  numbers: [(what, value in words), ...].
  """

  images: list[tuple[str, np.ndarray]]
  numbers: list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Viewer:
  """Attributes:
  restorer: of any size, or a run's.
  resize: of a run's preparation of pictures (config.data.resize).
  max_side: pixels; of a larger measurement the middle is taken.
  scale: magnification where the restorer does not say it.
  """

  restorer: Restorer
  resize: int = 0
  max_side: int = 64
  scale: int = DEFAULT_SCALE

  @property
  def degradations(self) -> list[str]:
    """What originals can be measured by, to choose from; the first is where one begins. A run has its own alone."""
    scale = self.restorer.scale or self.scale
    if self.restorer.image_size:
      return ["own"]
    if scale == 1:
      return ["noise:0.1", "jpeg:20", "blur:1.5", "none"]
    chains = [f"blur:1.2+bicubic:{scale}+noise:0.02+jpeg:70", f"block_average:{scale}"]
    return ["bicubic", "bicubic_matlab", *chains, "none"]

  @in_float32
  def measure(self, picture: np.ndarray, degradation: str, seed: int = 0) -> Seen:
    """A picture, uint8 [H,W,3] or [H,W], measured. UserError for one that is too small, or a degradation that fails."""
    image = Image.fromarray(picture).convert("RGB")
    if side := self.restorer.image_size:
      x = preprocess(image, side, self.resize).astype(np.float32) / 255
      y = Runner(self.restorer, 1, seed=seed).begin(x[None], None, np.zeros(1, int)).y[0, 0]
      return Seen(x, np.asarray(y), "own", seed)
    scale = self.restorer.scale or self.scale
    measuring = named_measuring(degradation, scale, None, seed)
    if measuring.measure and self.restorer.scale and measuring.scale != self.restorer.scale:
      raise UserError(
        f"{degradation} measures at x{measuring.scale}, and {self.restorer.name} magnifies x{self.restorer.scale}"
      )
    unit = measuring.scale
    rows, columns = (min(length // unit, self.max_side) * unit for length in (image.height, image.width))
    if min(rows, columns) < MIN_SIDE * unit:
      raise UserError(f"the picture is {image.width}x{image.height}: a side needs at least {MIN_SIDE * unit} pixels")
    left, top = (image.width - columns) // 2, (image.height - rows) // 2
    x = np.asarray(image.crop((left, top, left + columns, top + rows)), np.float32) / 255
    if measuring.measure is None:
      return Seen(None, x, degradation, seed)
    return Seen(x, measuring.measure(x, 0), degradation, seed)

  @in_float32
  def restore(self, seen: Seen, num_draws: int) -> Shown:
    """Draws of the restorer, and how far they agree with the measurement, the original and each other."""
    runner, batch = self._begin(seen, num_draws)
    restored = np.asarray(batch.restored[0, :, 0])
    spread = runner.spread(batch, num_draws) if len(restored) > 1 else None
    sample = runner.sample(batch, spread)
    names = ["psnr_y_db"] if seen.x is not None else []
    names += ["consistency_db"] if sample.degraded is not None else []
    names += ["per_pixel_std"] if spread is not None else []
    images = [("original", seen.x)] if seen.x is not None else []
    images.append(("measured", _as_large(seen.y, restored[0])))
    several = len(restored) > 1
    images += [(f"restored {number}" if several else "restored", x) for number, x in enumerate(restored, start=1)]
    if spread is not None:
      std = np.asarray(spread)[0, 0].mean(-1, keepdims=True).repeat(3, -1)
      images.append((f"std over draws x{STD_GAIN}", STD_GAIN * std))
    labels = {name: MEASURES[name].label for name in names}
    return Shown(_legible(images), _numbers(runner.measure(sample, names), labels))

  @in_float32
  def attack(self, seen: Seen, bound: str, value: float, num_steps: int, num_draws: int) -> Shown:
    """The change of the measurement, within a bound of BOUNDS, that moves the restoration most, and how far.

    value: what the bound's slider says.
    """
    *_, name = BOUNDS[bound]
    size = value / 255 if bound == "alpha" else radius(seen.y.shape, value)
    runner, batch = self._begin(seen, num_draws)
    attack = ATTACKS[name]
    direction = runner.singular(batch, DIRECTION_STEPS)[1] if attack.along else None
    delta = runner.search(batch, attack, size, num_steps, direction=direction)
    sample = runner.attacked(batch, delta, name)
    labels = {"input_psnr_db": "input PSNR", "output_psnr_db": "output PSNR", "lipschitz_worst_draw": "K, at least"}
    values = runner.measure(sample, list(labels))
    before, after = np.asarray(batch.restored[0, 0, 0]), np.asarray(sample.attacked[0, 0, 0])
    images = [
      ("measured", _as_large(seen.y, before)),
      ("attacked measurement", _as_large(np.asarray(sample.attacked_y[0, 0]), before)),
      ("restored", before), ("attacked restoration", after),
      (f"change of the restoration x{DIFFERENCE_GAIN}", 0.5 + DIFFERENCE_GAIN * (after - before)),
    ]  # fmt: skip
    return Shown(_legible(images), _numbers(values, labels))

  @in_float32
  def explore(self, seen: Seen, num_outputs: int, min_input_psnr: float, num_steps: int) -> Shown:
    """What else could have been shown for almost the same measurement, as far apart as can be found."""
    y = jnp.asarray(seen.y[None])
    key, noise_key = jax.random.split(jax.random.fold_in(jax.random.key(seen.seed), 1))
    z = jax.tree.map(lambda leaf: leaf[0], self.restorer.noise(noise_key[None], y.shape[1:], 1))
    with in_restorers_code(self.restorer.restore, y, z):
      _, found = explore(
        self.restorer.restore, y, z, key, num_outputs=num_outputs, min_input_psnr=min_input_psnr, num_steps=num_steps
      )
    found = np.clip(np.asarray(found), 0, 1)
    distances = pairwise_distances(jnp.asarray(found))
    images = [("of the measurement itself", found[0])]
    images += [(f"alternative {number}", x) for number, x in enumerate(found[1:], start=1)]
    numbers = [
      ("mean distance of two", f"{distances.mean():.4f} RMSE"), ("largest distance", f"{distances.max():.4f} RMSE"),
      ("measurements differ by no less than", f"{min_input_psnr:.1f} dB"),
    ]  # fmt: skip
    return Shown(_legible(images), numbers)

  def _begin(self, seen, num_draws):
    restorer = self.restorer
    if not restorer.image_size:
      measuring = named_measuring(seen.degradation, restorer.scale or self.scale, None, seen.seed)
      degradation = measuring.degrade and FunctionDegradation(measuring.degrade)
      restorer = dataclasses.replace(restorer, degradation=degradation)
    scale = restorer.scale or self.scale
    border = 0 if restorer.image_size or scale == 1 else scale  # as the audit has it
    settings = Settings(seen.y.size, border)
    runner = Runner(restorer, num_draws if restorer.stochastic else 1, settings, seen.seed)
    x = None if seen.x is None else seen.x[None]
    return runner, runner.begin(x, seen.y[None], np.zeros(1, int))


def _numbers(values: dict, labels: dict[str, str]) -> list[tuple[str, str]]:
  """Measures of one image in words, in the labels' order."""
  shown = ((label, MEASURES[name], float(values[name][0])) for name, label in labels.items())
  return [(label, f"{value:.{measure.digits}f} {measure.unit}".strip()) for label, measure, value in shown]


def _as_large(y: np.ndarray, x: np.ndarray) -> np.ndarray:
  """A measurement as large as its restoration, by replication; as it is where it is no smaller picture of it."""
  factor = x.shape[0] // y.shape[0]
  if factor > 1 and (factor * y.shape[0], factor * y.shape[1]) == x.shape[:2]:
    return y.repeat(factor, 0).repeat(factor, 1)
  return y


def _legible(images: list[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
  """As uint8, small ones enlarged by replication."""
  shown = []
  for title, image in images:
    factor = max(1, SMALLEST_SHOWN // max(image.shape[:2]))
    shown.append((title, eight_bits(image).repeat(factor, 0).repeat(factor, 1)))
  return shown
