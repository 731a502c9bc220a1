"""Paper B's decision attack on faces: a classifier of what a restorer shows is steered by changing the measurement.

  python -m experiments.decisions --images=DIR --labels=DIR/labels.csv [--workdir=runs/decisions] [--steps=N]

DIR holds train/ and val/; the labels are those of UTKFace's file names. Three small restorers (`mini`) of the upper 3/4
of 32x32 faces, and a classifier of whole faces that has never seen a restoration. A change of the visible quarter
reaches the classifier by two ways, through what the network makes of it and as the pasted pixels themselves: the second
alone is shown beside it ("network held": its output stays what it was), and a random change of the same sup norm. Both
under the paper's I-FGSM and under the stronger attack (strong_sup of prt_jax.attacks.table), 2.4 times as long.
Resumed run by run; --collect trains nothing.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.command import run_command
from experiments.face_classifier import decide, make_classify, read_labels, train_classifier
from experiments.figures import BLUE, GREY, VERMILLION, new_figure, save_figure
from experiments.image_runs import ImageRun, load, set_up
from experiments.results import FOLDER, format_table, write_results
from experiments.training import train
from prt_jax.attacks import compiled_restore_seeds
from prt_jax.attacks.table import ATTACKS
from prt_jax.data import prepare
from prt_jax.decision_attack import decision_attack
from prt_jax.evaluation.statistics import proportion
from prt_jax.io.whole_files import write_json
from prt_jax.restorers import Restorer

VARIANTS = ("deterministic-erratic", "deterministic-robust", "stochastic-robust")
ALPHAS = (1, 4, 16)  # of 255; paper B: 16
NUM_STEPS = 20  # of I-FGSM; paper B: 100
STEPS_OF = {"ifgsm": 1.0, "strong_sup": ATTACKS["strong_sup"].curve_steps}  # of each start, in those of I-FGSM
NUM_FACES = 100
NUM_DRAWS = 5  # of Z, of the stochastic restorer
STEPS = 600
LEARNING_RATE = 4e-4  # the demo's, for a run so short
ROBUST_WEIGHT = 50.0  # with the paper's 500 a run stands still for its first 1,200 steps (docs/results.md)
KINDS = {
  "attack": ("I-FGSM", "o:"), "strong": ("stronger attack", "o-"), "held": ("network held, I-FGSM", "^:"),
  "strong_held": ("network held, stronger", "^-"), "random": ("random change", "s--"),
}  # fmt: skip
COLORS = {"attack": VERMILLION, "strong": VERMILLION, "held": BLUE, "strong_held": BLUE, "random": GREY}


def main(argv: list[str] | None = None) -> None:
  """Trains what is missing, attacks, prints the table, writes JSON and the figure."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--images", type=pathlib.Path, required=True, help="folder with train/ and val/ of faces")
  parser.add_argument("--labels", type=pathlib.Path, help="default: labels.csv beside train/")
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/decisions"), help="resumed")
  parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, help="those to attack")
  parser.add_argument("--steps", type=int, default=STEPS, help="of each restorer's training")
  parser.add_argument("--faces", type=int, default=NUM_FACES, help="validation faces to attack")
  parser.add_argument("--alphas", type=int, nargs="+", default=ALPHAS, help="sup-norm bounds, of 255")
  parser.add_argument("--collect", action="store_true", help="train nothing")
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="where the JSON and the figure go")
  args = parser.parse_args(argv)
  started = time.monotonic()
  runs = {variant: make_run(variant, args.images, args.steps) for variant in args.variants}
  if not args.collect:
    for run in runs.values():
      config = run.make_config()
      set_up(config)
      train(config, args.workdir / run.name)
  data = prepare(next(iter(runs.values())).make_config().data)
  labels = read_labels(args.labels or args.images / "labels.csv", {"train": len(data.train), "val": len(data.val)})
  params = train_classifier(data.train, labels["train"], args.workdir / "classifier.msgpack")
  classify = make_classify(params)
  val = data.val.astype(np.float32) / 255
  accuracy = right(decide(classify, val) == labels["val"], len(val))
  results = {"classifier": {"label": "gender, of the file's name", "accuracy_on_originals": accuracy}, "restorers": {}}
  for variant, run in runs.items():
    found = measured_once(run, args, lambda run: measure(
      load(run, args.workdir).restorer(), classify, val[: args.faces], labels["val"][: args.faces], args.alphas
    ))  # fmt: skip
    results["restorers"][variant] = found
    print(render(variant, found), flush=True)
  results["protocol"] = {
    "task": "inpainting of the upper 3/4, 32x32", "scale": "mini, reduced", "steps": args.steps,
    "robust_weight": ROBUST_WEIGHT, "faces": args.faces, "attack_steps": NUM_STEPS, "draws": NUM_DRAWS, "seed": 0,
    "training_images": len(data.train), "validation_images": len(data.val),
  }  # fmt: skip
  write_results(args.out, "decisions", results, time.monotonic() - started)
  draw(results, args.out)


def make_run(variant: str, images: pathlib.Path, steps: int) -> ImageRun:
  """A restorer's training: the config of the faces' inpainting at `mini`, shortened."""
  fields: dict[str, Any] = {
    "data.source": "folder", "data.path": str(images), "data.resize": 0, "train.num_steps": steps,
    "train.checkpoint_every_steps": max(steps // 5, 1), "train.image_every_steps": steps,
    "optim.learning_rate": LEARNING_RATE, "optim.decay_steps": (max(4 * steps // 5, 1),),
  }  # fmt: skip
  if variant.endswith("robust"):
    fields["optim.robust_weight"] = ROBUST_WEIGHT
  return ImageRun("inpaint", variant, "mini", 0, fields)


def measured_once(run: ImageRun, args: argparse.Namespace, work: Callable[[ImageRun], dict]) -> dict:
  """work(run), kept beside the run with what it depends on: attacks take minutes."""
  kept = args.workdir / run.name / "decisions.json"
  key = {
    "alphas": list(args.alphas), "faces": args.faces, "attack_steps": NUM_STEPS, "draws": NUM_DRAWS,
    "kinds": list(KINDS),
  }  # fmt: skip
  if kept.exists() and (content := json.loads(kept.read_text()))["key"] == key:
    return content["found"]
  found = work(run)
  write_json(kept, {"key": key, "found": found})
  return found


def measure(restorer: Restorer, classify: Callable, x: np.ndarray, labels: np.ndarray, alphas: Sequence[float]) -> dict:
  """What the attack makes of the decisions on faces x [B,H,W,3] in [0, 1].

  Returns:
    {"accuracy_on_restorations", "bounds": {alpha: {a key of KINDS: share of decisions turned, "rates": [{"target",
    "before", "after": I-FGSM's, "strong_after"}]}}}.
  """
  degrade = restorer.degrade
  if degrade is None:
    raise ValueError(f"{restorer.name} knows no degradation")
  y = degrade(jnp.asarray(x))
  z = restorer.draws(np.arange(len(x)), range(NUM_DRAWS), y.shape[1:])
  restored = compiled_restore_seeds(restorer.restore, y, z)
  before = decisions(classify, restored)

  held = jax.tree_util.Partial(lambda attacked_y, shown: restorer.degradation.project(shown, attacked_y))

  signs = jax.random.rademacher(jax.random.key(1), y.shape, y.dtype)
  bounds = {}
  for alpha in alphas:
    counts, rates = {kind: [0, 0] for kind in KINDS}, []
    for target in (0, 1):
      after = {"random": compiled_restore_seeds(restorer.restore, jnp.clip(y + alpha / 255 * signs, 0, 1), z)}
      rates.append({"target": target})
      for prefix, (attack, steps) in zip(("", "strong_"), STEPS_OF.items(), strict=True):
        options = {"target": target, "alpha": alpha / 255, "num_steps": round(steps * NUM_STEPS), "attack": attack}
        through = decision_attack(restorer.restore, classify, y, z, **options)
        pasted = decision_attack(held, classify, y, restored, **options)
        rates[-1] |= {"before": through.rate_before, f"{prefix}after": through.rate_after}
        after[prefix.rstrip("_") or "attack"] = compiled_restore_seeds(restorer.restore, y + through.delta, z)
        after[f"{prefix}held"] = compiled_restore_seeds(held, y + pasted.delta, restored)
      for kind, pictures in after.items():
        counts[kind] = np.add(counts[kind], turned(before, decisions(classify, pictures), target))
    shares = {kind: proportion_of_faces(*own, len(x)) for kind, own in counts.items()}
    bounds[str(alpha)] = shares | {"rates": rates}
  return {"accuracy_on_restorations": right(before == labels, len(x)), "draws": len(restored), "bounds": bounds}


def decisions(classify: Callable, pictures: jax.Array) -> np.ndarray:
  """The classes [S,B] of restorations [S,B,H,W,3]."""
  flat = pictures.reshape(-1, *pictures.shape[2:])
  return decide(classify, flat).reshape(pictures.shape[:2])


def turned(before: np.ndarray, after: np.ndarray, target: int) -> tuple[int, int]:
  """(how many decisions were turned to the target, how many were another's before); [S,B] each."""
  others = before != target
  return int(np.sum(others & (after == target))), int(np.sum(others))


def proportion_of_faces(successes: int, decisions: int, faces: int) -> dict:
  """The share of decisions turned, with Wilson's interval of so many faces: a face's draws are not independent."""
  return proportion(successes / decisions, faces) | {"interval_kind": "95% Wilson, faces", "decisions": int(decisions)}


def right(agrees: np.ndarray, faces: int) -> dict:
  """The share of decisions that agree with the labels, with Wilson's interval of so many faces."""
  return proportion(float(np.mean(agrees)), faces) | {"interval_kind": "95% Wilson"}


def render(variant: str, found: dict) -> str:
  """A restorer's table."""
  accuracy = found["accuracy_on_restorations"]["value"]
  rows = [
    [f"{alpha}/255", *(_cell(own[kind]) for kind in KINDS)] for alpha, own in found["bounds"].items()
  ]  # fmt: skip
  table = format_table(["alpha", *(title for title, _ in KINDS.values())], rows)
  return f"\n{variant}: {accuracy:.1%} of the classifier's decisions on restorations are right\n{table}"


def _cell(share):
  low, high = share["interval"]
  return f"{share['value']:.3f} [{low:.3f}, {high:.3f}]"


def draw(results: dict, folder: pathlib.Path) -> pathlib.Path:
  """The share of decisions turned against the bound, a panel a restorer."""
  restorers = results["restorers"]
  figure, panels = new_figure(1, len(restorers), 2.4 * len(restorers) + 0.4, 2.6, sharey=True, squeeze=False)
  for axes, (variant, found) in zip(panels[0], restorers.items(), strict=True):
    alphas = [float(alpha) for alpha in found["bounds"]]
    for kind, (title, style) in KINDS.items():
      shares = [own[kind] for own in found["bounds"].values()]
      values = np.array([share["value"] for share in shares])
      low, high = np.array([share["interval"] for share in shares]).T
      errors = np.clip([values - low, high - values], 0, None)
      axes.errorbar(alphas, values, errors, fmt=style, color=COLORS[kind], label=title, capsize=2, elinewidth=0.7)
    axes.set_xscale("log", base=2)
    axes.set_xticks(alphas, [f"{alpha:g}" for alpha in alphas])
    axes.minorticks_off()
    axes.set(title=variant, xlabel="bound of the change, 1/255", ylim=(-0.03, 1.03))
  panels[0, 0].set_ylabel("share of decisions turned")
  panels[0, -1].legend(loc="upper left")
  return save_figure(figure, folder, "decisions")


if __name__ == "__main__":
  run_command(main)
