"""Source `points`: the toy worlds of paper A, points of the plane, uniform on a disk or between two ellipses."""

import numpy as np
from ml_collections import ConfigDict

from prt_jax.data.split import Found
from prt_jax.errors import UserError

COUNTS = {"train": 100_000, "val": 10_000}  # App. E.1

# Paper A's App. B.1 prints no axes. These give its four numbers within .03 (docs/toys.md says how they were found);
# the hole's are those of the inner ellipse.
OUTER_AXES = np.array([0.5, 1.0])
HOLE_AXES = np.array([0.3, 0.7])


def disk(rng: np.random.Generator, num_points: int) -> np.ndarray:
  """[N,2] float32, uniform on the unit disk (Sec. 4)."""
  angle = rng.uniform(0, 2 * np.pi, num_points)
  radius = np.sqrt(rng.uniform(0, 1, num_points))
  return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)


def ellipses(rng: np.random.Generator, num_points: int) -> np.ndarray:
  """[N,2] float32, uniform between the two concentric ellipses (App. B.1)."""
  kept = np.empty((0, 2), np.float32)
  while len(kept) < num_points:
    points = disk(rng, 2 * num_points) * OUTER_AXES.astype(np.float32)
    kept = np.concatenate([kept, points[~in_hole(points)]])
  return kept[:num_points]


def in_hole(points: np.ndarray) -> np.ndarray:
  """[N] bool: whether each point is inside the inner ellipse."""
  return np.sum((points / HOLE_AXES) ** 2, axis=1) < 1


WORLDS = {"disk": disk, "ellipses": ellipses}


def describe(data: ConfigDict) -> dict:
  """What `draw` will produce, its seed apart, as a JSON-able dict. UserError for a world that is none."""
  if data.name not in WORLDS:
    raise UserError(
      f"data.name={data.name!r} is no world of points: set --config.data.name to one of {', '.join(WORLDS)}"
    )
  return {"world": data.name, "counts": COUNTS}


def draw(data: ConfigDict, seed: int) -> dict[str, np.ndarray]:
  """Both splits of the world data.name, [N,2] float32 each: a pure function of the seed."""
  describe(data)
  rng = np.random.default_rng(seed)
  return {split: WORLDS[data.name](rng, count) for split, count in COUNTS.items()}


def look(data: ConfigDict) -> Found:
  """Found, at once. UserError as `describe`."""
  return Found(describe(data)["counts"], 0, f"points of the world {data.name}, drawn at each start")
