"""Paper A, Fig. 7, with the restorers whose weights are at hand: robustness of published x4 networks on Set5 and Set14.

  python -m experiments.real_restorers --weights=DIR --images=DIR/Set5 --output=runs/real_restorers/Set5
  python -m experiments.real_restorers --weights=DIR --images=DIR/Set5 --output=runs/fig7 --networks=srflow,esrgan,edsr
  python -m experiments.real_restorers --images=DIR/Set5 --output=runs/real_restorers/Set5 --report_only
  python -m experiments.real_restorers --weights=DIR --images=DIR/Set5 --output=runs/psnr/Set5 --psnr_only

Protocol (App. G, Fig. 7): I-FGSM, 50 steps, alpha in {1, 2, 4, 8, 16, 32} / 255; output PSNR against input PSNR. Beside
it the stronger attack (strong_sup of prt_jax.attacks.table), 60 steps from a random start, 60 along the Jacobian's.
The paper attacks SRFlow (10 draws of Z), ESRGAN and EDSR: --networks names them, --weights has their authors' files
(experiments/networks.py says which). Without them two GAN-trained networks (SRGAN, Real-ESRGAN compact) stand against
those trained for distortion (IMDN, CARN-M, PAN, SAFMN) and bicubic interpolation. The report prints the published
order. Every (network, image, alpha) is a line of measurements.jsonl: a run that was stopped goes on where it was.
"""

import argparse
import functools
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from experiments.command import run_command
from experiments.networks import at_hand, check_names, load
from prt_jax.attacks.table import ATTACKS
from prt_jax.data.image_pairs import Reading, bicubic_measure, read_pairs
from prt_jax.errors import UserError
from prt_jax.evaluation.checked_calls import restore_all
from prt_jax.evaluation.measured_parts import DIRECTION_STEPS, curve_runs
from prt_jax.evaluation.measures import Settings
from prt_jax.evaluation.runner import Runner
from prt_jax.io.pictures import eight_bits, save_png
from prt_jax.io.whole_files import write_json
from prt_jax.metrics import psnr_y
from prt_jax.restorers import Restorer
from prt_jax.training.writers import append_line, keep_lines

ALPHAS = (1, 2, 4, 8, 16, 32)  # of 255
NUM_STEPS = 50
KEPT = ("input_psnr_db", "output_psnr_db", "lipschitz", "late_gain_db")  # of what is measured of an attack
SCALE = 4
NUM_SEEDS = 10  # draws of Z of a stochastic network (App. G)
# PSNR-Y on Set5 that came with the weights, dB: Pillow's bicubic reduction, 4 pixels of border left out.
KNOWN_PSNR_Y = {"imdn": 32.21, "srgan": 30.66, "bicubic": 28.43}


def main() -> None:
  """Measures what is missing, then reports."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--weights", type=pathlib.Path, help="folder of the networks' checkpoints")
  parser.add_argument("--images", type=pathlib.Path, required=True, help="folder of original images")
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--networks", default="", help="comma-separated; default: those whose files --weights has")
  parser.add_argument("--crop", type=int, default=0, help="attack a central square of so many pixels; 0 = whole images")
  parser.add_argument("--report_only", action="store_true")
  parser.add_argument("--psnr_only", action="store_true", help="attack nothing: PSNR-Y of every network alone")
  arguments = parser.parse_args()
  if arguments.weights is None and not arguments.report_only:
    raise UserError("--weights=DIR is missing: the folder of the networks' checkpoints")
  names = [name for name in arguments.networks.split(",") if name]
  if arguments.psnr_only:
    measure_psnr(arguments.images, arguments.weights, arguments.output, arguments.crop, names)
    return
  if not arguments.report_only:
    measure(arguments.images, published(arguments.weights, names), arguments.output, arguments.crop)
  from experiments.real_restorers_report import report

  report(arguments.output, arguments.images.name, arguments.crop)


def published(weights: pathlib.Path | None, names: Sequence[str] = ()) -> dict[str, Callable[[], Restorer]]:
  """{network: how it is loaded} of experiments/networks.py.

  weights: the folder of their authors' files. names: which; none: those whose files are there.
  """
  check_names(list(names), weights, SCALE)
  return {name: functools.partial(load, name, weights, SCALE) for name in names or at_hand(weights, SCALE)}


def measure(
  images: pathlib.Path, loaders: Mapping[str, Callable[[], Restorer]], output: pathlib.Path, crop: int,
  alphas: Sequence[float] | None = None,
) -> None:
  """Appends the missing lines; small images first, so that a stopped run has seen all networks.

  loaders: {network: how it is loaded}, called where lines of it are missing. alphas: of 255; None: ALPHAS.
  """  # fmt: skip
  alphas = ALPHAS if alphas is None else alphas
  output.mkdir(parents=True, exist_ok=True)
  path = output / "measurements.jsonl"
  lines = read_measurements(path)
  if crops := {line.get("crop", crop) for line in lines} - {crop}:
    raise UserError(f"{path} is of --crop={crops.pop()}: repeat that, or choose another --output")
  done = {(line["network"], line["image"], line["alpha_255"]) for line in lines}
  reading = Reading(SCALE, mod_crop=True, crop=crop)
  pairs = sorted(read_pairs(images, reading, bicubic_measure(SCALE)), key=lambda pair: pair.y.size)
  restorers = {}
  for pair in pairs:
    for network, load_network in loaders.items():
      missing = [alpha for alpha in alphas if (network, pair.name, alpha) not in done]
      if not missing:
        continue
      if network not in restorers:
        restorers[network] = load_network()
      restorer = restorers[network]
      runner = Runner(restorer, NUM_SEEDS if restorer.stochastic else 1, Settings(psnr_size=pair.y.size))
      batch = runner.begin(None, pair.y[None], np.array([0]))
      x = np.asarray(batch.restored[0, 0, 0])
      save_png(output / "images" / f"{pair.name}-{network}-00.png", eight_bits(x))
      consistency = float(runner.measure(runner.sample(batch), ["consistency_db"])["consistency_db"][0])
      stretch, direction = runner.singular(batch, DIRECTION_STEPS)
      for alpha in missing:
        line = {
          "network": network, "image": pair.name, "alpha_255": alpha, "crop": crop,
          "psnr_y_db": psnr_y(x.clip(0, 1), pair.x, SCALE), "consistency_db": consistency,
          "lipschitz_from_jacobian": float(stretch.max()),
        }
        for prefix, run in zip(("", "strong_"), curve_runs((alpha,), NUM_STEPS, 1), strict=True):
          attack, start = ATTACKS[run.attack], time.perf_counter()
          delta, gain = runner.judged_search(
            batch, attack, run.radius, run.num_steps, direction=direction if attack.along else None
          )
          sample = runner.attacked(batch, delta, run.name, gain)
          values = {name: float(value[0]) for name, value in runner.measure(sample).items()}
          values["lipschitz"] = values["lipschitz_worst_draw"]
          line |= {prefix + name: values[name] for name in KEPT if name in values}
          line[f"{prefix}seconds"] = time.perf_counter() - start
          if not prefix:
            save_png(output / "images" / f"{pair.name}-{network}-{alpha:02d}.png", eight_bits(sample.attacked[0, 0, 0]))
            attacked_y = eight_bits(sample.attacked_y[0, 0])
            save_png(output / "images" / f"{pair.name}-{network}-{alpha:02d}-input.png", attacked_y)
        append_line(path, line)  # after its pictures: a line says that all of it is there
        print(json.dumps(line), flush=True)


def read_measurements(path: pathlib.Path) -> list[dict]:
  """The lines of measurements.jsonl; drops one that was cut off, so that it is measured again."""
  keep_lines(path, lambda line: True)
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measure_psnr(
  images: pathlib.Path, weights: pathlib.Path | None, output: pathlib.Path, crop: int, networks: Sequence[str] = ()
) -> None:
  """Prints the mean PSNR-Y of each network (of a stochastic one's first draw); writes psnr_y.json, every image's.

  networks: as in measure.
  """
  check_names(list(networks), weights, SCALE)
  output.mkdir(parents=True, exist_ok=True)
  pairs = list(read_pairs(images, Reading(SCALE, mod_crop=True, crop=crop), bicubic_measure(SCALE)))
  results = {}
  for network in networks or at_hand(weights, SCALE):
    restorer = load(network, weights, SCALE)
    draws = [restorer.draws([0], [0], pair.y.shape) for pair in pairs]
    restored = [
      restore_all(restorer.restore, jnp.asarray(pair.y[None]), z)[0, 0] for pair, z in zip(pairs, draws, strict=True)
    ]
    values = {pair.name: psnr_y(np.clip(x, 0, 1), pair.x, SCALE) for pair, x in zip(pairs, restored, strict=True)}
    results[network] = {"mean": float(np.mean(list(values.values()))), "images": values}
    known = f" (known on Set5: {KNOWN_PSNR_Y[network]:.2f})" if network in KNOWN_PSNR_Y else ""
    print(f"{network}: PSNR-Y {results[network]['mean']:.3f} dB{known}", flush=True)
  write_json(output / "psnr_y.json", results)


if __name__ == "__main__":
  run_command(main)
