"""What recall rests on: how large the balls are that make up a restorer's manifold in Table 1.

  python -m experiments.manifolds --scale=mini --path=DIR --feature_weights=squeezenet.npz

Recall counts an original as reached when it lies in a ball around some restoration, whose radius is the distance to
that restoration's own k-th neighbour: restorations far apart from one another, artefacts among them, have large balls.
Coverage (Naeem et al. 2020) takes the radius from the originals instead. Needs table1's complete runs.
"""

import argparse
import time

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from scipy.spatial.distance import cdist

from experiments.command import run_command
from experiments.image_runs import ImageRun, add_arguments, config_fields, load
from experiments.results import format_table, mean_and_spread, write_results
from prt_jax.data import prepare
from prt_jax.data.evaluation_order import evaluation_rows
from prt_jax.evaluate import begin
from prt_jax.evaluation.runner import Runner
from prt_jax.features import make_extractor

BATCH = 8  # images
SCORES = ("recall", "recall_without_largest", "coverage", "radius_ratio")


def main(argv: list[str] | None = None) -> None:
  """Restores once more what table1 evaluated, prints the table and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--config", default="inpaint", help="a file of configs/, without folder and ending")
  add_arguments(parser, "table1")
  args = parser.parse_args(argv)
  fields = config_fields(args)
  started = time.monotonic()
  config = ImageRun(args.config, args.variants[0], args.scale, 0, fields).make_config()
  spaces = [("pixels", ""), ("squeezenet", args.feature_weights)] if args.feature_weights else [("pixels", "")]
  extractors = {
    name: make_extractor(ConfigDict({"feature_extractor": name, "feature_weights": weights}), config.data.cache_dir)
    for name, weights in spaces
  }

  runs = {name: {variant: [] for variant in args.variants} for name in extractors}
  for variant in args.variants:
    for seed in range(args.seeds):
      run = ImageRun(args.config, variant, args.scale, seed, fields)
      reference, restored = images_of(run, args.workdir)
      for name, extractor in extractors.items():
        real, fake = features(extractor, reference), features(extractor, restored)
        runs[name][variant].append({"seed": seed} | compare_manifolds(real, fake, config.eval.num_neighbors))
  results = {
    name: {
      variant: {score: mean_and_spread([run[score] for run in found])["mean"] for score in SCORES} | {"runs": found}
      for variant, found in variants.items()
    }
    for name, variants in runs.items()
  }
  rows = [
    [name, variant, *(found[score] for score in SCORES)]
    for name, variants in results.items() for variant, found in variants.items()
  ]  # fmt: skip
  print(format_table(["features", "variant", *SCORES], rows))
  protocol = {"scale": args.scale, "smoke": args.smoke, "k": config.eval.num_neighbors, "n": config.eval.num_examples}
  results = {"features": results, "protocol": protocol}
  name = f"manifolds_{args.scale}" if args.config == "inpaint" else f"manifolds_{args.config}_{args.scale}"
  write_results(args.out, name, results, time.monotonic() - started)


def images_of(run: ImageRun, workdir) -> tuple[np.ndarray, np.ndarray]:
  """A complete run's (reference, restorations), [n,H,W,3]: those of its evaluation, the first draw of each."""
  trained = load(run, workdir)
  dataset, count = prepare(trained.config.data), trained.config.eval.num_examples
  runner = Runner(trained.restorer(), num_seeds=1)
  rows = evaluation_rows(dataset.val, count)
  batches = (rows[first : first + BATCH] for first in range(0, len(rows), BATCH))
  restored = [begin(runner, dataset, mine).restored[0, 0] for mine in batches]
  return dataset.train[evaluation_rows(dataset.train, count)], np.concatenate(restored)


def features(extractor, images: np.ndarray) -> np.ndarray:
  """[n, D] float64 features of images [n,H,W,3]."""
  batches = (images[first : first + BATCH] for first in range(0, len(images), BATCH))
  return np.concatenate([np.asarray(extractor(jnp.asarray(batch))) for batch in batches]).astype(np.float64)


def compare_manifolds(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
  """How `fake` reaches `real`, both [n, D], n some thousands at most: all distances are in memory at once.

  Returns:
    recall: the share of real points in a ball around a fake point, its radius the distance to that point's k-th other.
    recall_without_largest: the same without the tenth of the balls that are largest.
    coverage: the share of real points whose own ball, of the same kind, holds a fake point.
    radius_ratio: the fake points' median radius over the real ones'.
  """
  across = cdist(real, fake)
  radius_of_real, radius_of_fake = (np.sort(cdist(points, points), axis=1)[:, k] for points in (real, fake))
  reached = across <= radius_of_fake
  return {
    "recall": float(np.mean(reached.any(1))),
    "recall_without_largest": float(np.mean(reached[:, radius_of_fake <= np.quantile(radius_of_fake, 0.9)].any(1))),
    "coverage": float(np.mean((across <= radius_of_real[:, None]).any(1))),
    "radius_ratio": float(np.median(radius_of_fake) / np.median(radius_of_real)),
  }


if __name__ == "__main__":
  run_command(main)
