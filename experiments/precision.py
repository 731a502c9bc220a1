"""What TF32 and bfloat16 do to what the papers measure of a trained restorer, emulated on a CPU.

  python -m experiments.precision --restorer runs/inpaint-deterministic-erratic-mini [more workdirs]

The same weights, inputs, noise and attack starts in each arithmetic, compared with float32 input by input. Each has an
attack of its own, by its own gradients. Writes precision.json. What it showed: docs/precision.md.
"""

import argparse
import functools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.command import run_command
from experiments.results import FOLDER, format_table, write_results
from experiments.rounding import BFLOAT16_MANTISSA, TF32_MANTISSA, round_mantissa, with_rounded_products
from prt_jax import attacks
from prt_jax.attacks.table import ATTACKS
from prt_jax.data import prepare
from prt_jax.data.evaluation_order import evaluation_rows
from prt_jax.errors import UserError
from prt_jax.evaluation import statistics
from prt_jax.evaluation.runner import Runner
from prt_jax.metrics import PSNR_CAP, consistency_psnr, psnr
from prt_jax.restorers import Restorer
from prt_jax.restorers.from_run import Run, load_run
from prt_jax.training.gan import make_game
from prt_jax.training.trained_estimator import run_restorer

RADII = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # of the attack's eps
TOLERANCE = 0.1  # a K that differs by more from float32's is called drowned
BATCH = 40


class Mode(NamedTuple):
  """An arithmetic: the nets' dtype, and the bits of mantissa that operands of float32 products keep (None: all)."""

  dtype: str
  mantissa: int | None


REFERENCE = "float32"
MODES = {
  REFERENCE: Mode("float32", None),
  "tf32": Mode("float32", TF32_MANTISSA),
  "bfloat16 products": Mode("float32", BFLOAT16_MANTISSA),
  "bfloat16": Mode("bfloat16", None),
}


class Programs(NamedTuple):
  """A net in one arithmetic.

  Attributes:
    restore: (weights, y, z) -> [S,B,H,W,3].
    gradient: (weights, y, z, restored, delta) -> the gradient of attacks.change by delta, [B, ...].
    slope: (weights, y, z, delta) -> sqrt(E_Z ||J delta||^2) / ||delta||, [B]: what K tends to as delta shrinks.
  """

  restore: Callable
  gradient: Callable
  slope: Callable


def make_restorer(run: Run, mode: Mode) -> Restorer:
  """A run's restorer in an arithmetic, with JAX's own convolutions, whose operands can be rounded."""
  return run_restorer(make_game(run.config, platform="gpu", dtype=mode.dtype), run.weights, run.workdir.name)


def make_programs(restorer: Restorer, mode: Mode) -> Programs:
  """The compiled programs of what make_restorer gives, in the same arithmetic."""

  def restore(weights, y, z):
    return jax.vmap(restorer.apply, (None, None, 0))(weights, y, z)

  def gradient(weights, y, z, restored, delta):
    restore_one = functools.partial(restorer.apply, weights)
    return jax.grad(lambda delta: jnp.sum(attacks.change(restore_one, y, z, delta, restored)))(delta)

  def slope(weights, y, z, delta):
    _, moved = jax.jvp(lambda y: restore(weights, y, z), (y,), (delta,))
    return _norm_over_draws(moved) / attacks.l2_norm(delta)

  def compiled(function):
    if mode.mantissa is not None:
      function = with_rounded_products(function, functools.partial(round_mantissa, bits=mode.mantissa))
    return jax.jit(function)

  return Programs(*map(compiled, (restore, gradient, slope)))


def _norm_over_draws(difference):
  """sqrt(E_Z ||.||^2) of [S,B,H,W,3]: [B]."""
  return jnp.sqrt(jnp.mean(jnp.sum(difference**2, axis=(2, 3, 4)), 0))


def search(
  programs: Programs, weights, y, z, restored, start: jax.Array, *, eps: float, config: ConfigDict
) -> jax.Array:
  """The training attack's delta within eps, from a start of any norm: its last iterate."""
  delta = attacks.to_sphere(start, eps)
  state = attacks.start_search(jax.random.key(0), delta.shape, eps)._replace(delta=delta)
  for _ in range(config.attack.num_steps):
    gradient = programs.gradient(weights, y, z, restored, state.delta)
    state = _step(state, gradient, eps, config.attack.learning_rate)
  return state.delta


_step = jax.jit(attacks.search_step)


def measure(
  run: Run, images: np.ndarray, rows: np.ndarray, radii: tuple[float, ...] = RADII,
  modes: tuple[str, ...] = tuple(MODES),
) -> dict[str, dict[str, np.ndarray]]:
  """{mode: {column: [n] or [n, radii]}} on rows of images, uint8 [N,H,W,3].

  Args:
    run: what is measured.
    images, rows: a validation set, and which of it.
    radii: norms of delta, in units of the attack's eps, which comes first.
    modes: keys of MODES, REFERENCE among them.

  The columns: consistency_db (at most 100), output_psnr_db (against float32's restorations, at most 100), robustness_db
  (at eps), slope_at_random (float32's derivative in a random direction); and at each radius K (under the mode's attack,
  in the mode), K_in_float32 (of the delta that it found) and K_at_random (in the same random direction).
  """
  config, weights = run.config, run.weights
  restorers = {mode: make_restorer(run, MODES[mode]) for mode in modes}
  programs = {mode: make_programs(restorer, MODES[mode]) for mode, restorer in restorers.items()}
  found = {mode: [] for mode in modes}
  runner = Runner(restorers[REFERENCE], config.attack.num_seeds)
  for y, z, start in _inputs(runner, images, rows, config.attack.eps):
    reference = programs[REFERENCE].restore(weights, y, z)
    slope = programs[REFERENCE].slope(weights, y, z, start)
    for mode, own in programs.items():
      restored = own.restore(weights, y, z)
      columns = {
        "consistency_db": jnp.minimum(consistency_psnr(y, run.game.degradation.clean(restored[0])), PSNR_CAP),
        "output_psnr_db": jnp.minimum(jnp.mean(jax.vmap(psnr)(restored, reference), 0), PSNR_CAP),
        "slope_at_random": slope,
      }
      curves = {name: [] for name in ("K", "K_in_float32", "K_at_random")}
      for radius in radii:
        eps = radius * config.attack.eps
        delta = search(own, weights, y, z, restored, start, eps=eps, config=config)
        at_random = attacks.to_sphere(start, eps)
        attacked = own.restore(weights, y + delta, z)
        curves["K"].append(_norm_over_draws(attacked - restored) / attacks.l2_norm(delta))
        moved = programs[REFERENCE].restore(weights, y + delta, z) - reference
        curves["K_in_float32"].append(_norm_over_draws(moved) / attacks.l2_norm(delta))
        moved = own.restore(weights, y + at_random, z) - restored
        curves["K_at_random"].append(_norm_over_draws(moved) / attacks.l2_norm(at_random))
        if radius == radii[0]:
          columns["robustness_db"] = jnp.mean(jnp.minimum(jax.vmap(psnr)(restored, attacked), PSNR_CAP), 0)
      columns |= {name: jnp.stack(values, -1) for name, values in curves.items()}
      found[mode].append(jax.device_get(columns))
  return {
    mode: {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}
    for mode, parts in found.items()
  }


def _inputs(runner, images, rows, eps) -> Iterator[tuple[jax.Array, Any, jax.Array]]:
  """The evaluation's measurements, draws of Z and random starts of norm eps, a batch at a time."""
  for first in range(0, len(rows), BATCH):
    mine = rows[first : first + BATCH]
    batch = runner.begin(np.asarray(images[mine], np.float32) / 255, None, mine)
    start = runner.start(batch, ATTACKS["search"], eps).delta
    yield jax.tree.map(lambda leaf: leaf[0], (batch.y, batch.z, start))


def summarise(columns: dict[str, dict[str, np.ndarray]], radii: tuple[float, ...] = RADII) -> dict:
  """What each mode does, paired with float32 input by input; each mean with its 95% interval (statistics.average).

  Returns:
    {mode: {"K_median", "K_over_float32" (mean of the ratios), "K_of_its_delta_in_float32" (the same, judged in
    float32), "robustness_db", "consistency_db", and both "_minus_float32", "output_psnr_db", "by_radius": a list of
    {"radius", "K", "K_at_random" (medians), "K_off", "K_at_random_off" (medians of |K / float32's - 1|), "slope_off"
    (of |K_at_random / float32's slope - 1|: how far rounding and, at larger radii, curvature take it)},
    "trusted_down_to": the least radius down to which K_at_random_off stays within TOLERANCE, None for none}}.
  """
  reference = columns[REFERENCE]
  summary = {}
  for mode, found in columns.items():
    slope = found["slope_at_random"][:, None]
    curves = {name: np.median(found[name], 0) for name in ("K", "K_at_random")}
    curves |= {f"{name}_off": np.median(np.abs(found[name] / reference[name] - 1), 0) for name in ("K", "K_at_random")}
    curves["slope_off"] = np.median(np.abs(found["K_at_random"] / slope - 1), 0)
    trusted = [radius for i, radius in enumerate(radii) if (curves["K_at_random_off"][: i + 1] <= TOLERANCE).all()]
    summary[mode] = {
      "K_median": float(curves["K"][0]),
      "K_over_float32": statistics.average(found["K"][:, 0] / reference["K"][:, 0]),
      "K_of_its_delta_in_float32": statistics.average(found["K_in_float32"][:, 0] / reference["K"][:, 0]),
      **{name: statistics.average(found[name]) for name in ("robustness_db", "consistency_db", "output_psnr_db")},
      **{
        f"{name}_minus_float32": statistics.average(found[name] - reference[name])
        for name in ("robustness_db", "consistency_db")
      },
      "by_radius": [
        {"radius": radius} | {name: float(values[i]) for name, values in curves.items()}
        for i, radius in enumerate(radii)
      ],
      "slope_at_random_median": float(np.median(slope)),
      "trusted_down_to": trusted[-1] if trusted else None,
    }  # fmt: skip
  return summary


def main(argv: list[str] | None = None) -> None:
  """Measures every workdir, prints both tables, writes precision.json."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--restorer", type=pathlib.Path, nargs="+", required=True, help="workdirs of training runs")
  parser.add_argument("--num_examples", type=int, default=200, help="validation inputs; default 200")
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="where precision.json goes")
  args = parser.parse_args(argv)
  started = time.monotonic()
  runs, rows, radius_rows = {}, [], []
  for workdir in args.restorer:
    run = load_run(workdir)
    config = run.config
    if not run.game.restores_images:
      raise UserError(f"--restorer {workdir}: a run of points restores no images")
    images = prepare(config.data).val
    if not 2 <= args.num_examples <= len(images):
      raise UserError(f"--num_examples={args.num_examples} must be 2 to {len(images)}, the images of {workdir}")
    chosen = evaluation_rows(images, args.num_examples)
    summary = summarise(measure(run, images, chosen))
    runs[workdir.name] = {
      "step": run.step, "seed": config.seed, "n": len(chosen), "attack": config.attack.to_dict(),
      "degradation": config.degradation.to_dict(), "width": config.model.width, "modes": summary,
    }  # fmt: skip
    rows += [[workdir.name, mode, *_cells(found)] for mode, found in summary.items()]
    radius_rows += [
      [workdir.name, mode, *(f"{point['K_at_random']:.3g}" for point in found["by_radius"])]
      for mode, found in summary.items()
    ]
    write_results(args.out, "precision", {"runs": runs, "radii": RADII}, time.monotonic() - started)
  header = ("K, median", "K / float32's", "its delta in float32", "robustness, dB", "consistency, dB", "output PSNR")
  print(format_table(["run", "arithmetic", *header], rows))
  print("\nK in a random direction, median, by the length of delta in units of eps")
  print(format_table(["run", "arithmetic", *(f"{radius:g}" for radius in RADII)], radius_rows))


def _cells(found):
  def mean(name):
    low, high = found[name]["interval"]
    return f"{found[name]['value']:.4f} ({low:.4f} to {high:.4f})"

  return [
    found["K_median"], mean("K_over_float32"), mean("K_of_its_delta_in_float32"), mean("robustness_db_minus_float32"),
    mean("consistency_db_minus_float32"), mean("output_psnr_db"),
  ]  # fmt: skip


if __name__ == "__main__":
  run_command(main)
