"""Paper B's tradeoff where all of it can be computed: python -m experiments.gaussian_tradeoff

X ~ N(0, 1), Y = X + N(0, 1). Deterministic estimators by conditional GANs, with the penalty on random neighbours at
several weights, and stochastic ones: the Lipschitz constant K against the joint index W_1((X, Y), (f(Y), Y)).
"""

import argparse
import itertools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from experiments.command import run_command
from experiments.figures import BLACK, BLUE, GREEN, GREY, new_figure, save_figure
from experiments.gaussian_training import Runs, Settings, State, estimate, measure, train
from experiments.results import FOLDER, format_table, mean_and_spread, write_results
from prt_jax.metrics.joint import joint_wasserstein
from prt_jax.precision import in_float32
from prt_jax.quality_bounds import quality_bound, sharpest_quality_bound

WEIGHTS = (0.0, 0.001, 0.003, 0.01, 0.1, 1.0, 3.0, 10.0, 30.0)  # lambda of the deterministic estimators
STOCHASTIC_WEIGHTS = (0.0, 1.0)
GRID = 20_001  # points for the slope, over the range of the measurements that the index is computed on
DRAWS = 64  # of Z, each of which makes a stochastic estimator a function whose slope counts
FREQUENCIES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the hand-made estimators
SETS, POINTS = 4, 1000  # samples for the index, and the size of each
SCALES = (0.1, 0.3, 0.6, 1.0, 2.0)  # of y in the joint index, for the sharpest bound
SMOKE = {"width": 16, "batch_size": 32, "num_steps": 60}


def make_runs(weights, stochastic_weights, seeds: int) -> Runs:
  """Every weight with every seed, deterministic ones first."""
  rows = [
    (weight, stochastic, seed)
    for stochastic, some in ((0.0, weights), (1.0, stochastic_weights))
    for weight, seed in itertools.product(some, range(seeds))
  ]
  weight, stochastic, seed = zip(*rows, strict=True)
  return Runs(jnp.array(weight), jnp.array(stochastic), jnp.array(seed))


def samples(noise_std: float) -> list[tuple[np.ndarray, np.ndarray]]:
  """SETS samples (x, y), [POINTS] each, that no training sees."""
  return [measure(jax.random.fold_in(jax.random.key(2), index), POINTS, noise_std) for index in range(SETS)]


def least_deviation(noise_std: float) -> float:
  """m = inf_g E|X - g(Y)|: the posterior is Gaussian, and its mean is its median."""
  return float(np.sqrt(2 / np.pi) * posterior_std(noise_std))


def sample_deviations(sets, noise_std: float) -> dict[int, float]:
  """m_1 and m_2 of the samples themselves, so that the bounds hold on them but for what is left of chance."""
  errors = [x - y / (1 + noise_std**2) for x, y in sets]
  return {p: float(np.mean([np.mean(np.abs(error) ** p) ** (1 / p) for error in errors])) for p in (1, 2)}


def posterior_std(noise_std: float) -> float:
  """sd(X | Y), the same for every Y."""
  return noise_std / np.sqrt(1 + noise_std**2)


def posterior_sample(y, noise_std: float, seed: int) -> np.ndarray:
  """X' ~ p(X | Y = y)."""
  noise = np.random.default_rng(seed).normal(size=len(y))
  return np.asarray(y) / (1 + noise_std**2) + posterior_std(noise_std) * noise


def hand_made(y, noise_std: float, frequency: float) -> np.ndarray:
  """The posterior's mean plus a sine of the posterior's variance: deterministic, nearer to a sampler the faster."""
  y = np.asarray(y, np.float64)
  return y / (1 + noise_std**2) + 2**0.5 * posterior_std(noise_std) * np.sin(2 * np.pi * frequency * y)


@in_float32
def evaluate(settings: Settings, runs: Runs, state: State) -> list[dict]:
  """K and the joint index of each run.

  K is the largest difference quotient between neighbours of a grid: the largest slope, up to the grid's step. Within
  the grid's range it is the constant that the bounds are about, since the index moves no y out of that range. The
  sharpest bounds are those of the first sample, over SCALES.
  """
  sets = samples(settings.noise_std)
  deviation, own = sample_deviations(sets, settings.noise_std)[1], sample_deviations(sets[:1], settings.noise_std)
  ends = min(float(y.min()) for _, y in sets), max(float(y.max()) for _, y in sets)
  grid = jnp.linspace(*ends, GRID)
  draws = jax.random.normal(jax.random.key(3), (DRAWS,))

  @jax.jit
  def largest_slope(params, z):
    outputs = estimate(settings, params, grid, jnp.full(GRID, z))
    return jnp.max(jnp.abs(jnp.diff(outputs) / jnp.diff(grid)))

  results = []
  for index in range(len(runs.seed)):
    params = jax.tree.map(lambda leaf, index=index: leaf[index], state.estimator)
    stochastic = float(runs.stochastic[index])
    slopes = [largest_slope(params, z) for z in (draws if stochastic else draws[:1] * 0)]
    values, first = [], None
    for number, (x, y) in enumerate(sets):
      z = stochastic * jax.random.normal(jax.random.fold_in(jax.random.key(4), number), y.shape)
      x_hat = np.asarray(estimate(settings, params, y, z))
      first = first or [(np.asarray(x), np.asarray(y), x_hat)]
      values.append(joint_wasserstein(x, y, x_hat))
    sharpest = {p: sharpest_quality_bound(first, own[p], p=p, scales=SCALES) for p in (1, 2)}
    bound = quality_bound(deviation, float(np.mean(values)))
    results.append({
      "robust_weight": float(runs.robust_weight[index]), "stochastic": bool(stochastic), "seed": int(runs.seed[index]),
      "K": float(max(slopes)), "joint_index": float(np.mean(values)), "joint_index_per_sample": values,
      "bound": bound, **{f"sharpest_bound_w{p}": {"K": k, "scale": scale} for p, (k, scale) in sharpest.items()},
      "above_bound": float(max(slopes)) >= max(bound, *(k for k, _ in sharpest.values())),
    })
  return results


def references(noise_std: float) -> dict:
  """The floor of the estimated index, and the estimators that need no training."""
  floors, fresh, means, sines = [], [], [], {frequency: [] for frequency in FREQUENCIES}
  for index, (x, y) in enumerate(samples(noise_std)):
    floors.append(joint_wasserstein(x, y, posterior_sample(y, noise_std, index)))
    others = measure(jax.random.fold_in(jax.random.key(5), index), POINTS, noise_std)
    fresh.append(joint_wasserstein(x, y, *others))
    means.append(joint_wasserstein(x, y, y / (1 + noise_std**2)))
    for frequency, values in sines.items():
      values.append(joint_wasserstein(x, y, hand_made(y, noise_std, frequency)))
  return {
    "m": least_deviation(noise_std),
    "floor_posterior_sampler_same_y": mean_and_spread(floors),
    "floor_independent_samples": mean_and_spread(fresh),
    "posterior_mean": {"K": 1 / (1 + noise_std**2), "joint_index": mean_and_spread(means)},
    "hand_made": [
      {
        "frequency": frequency,
        "K": 1 / (1 + noise_std**2) + 2**0.5 * posterior_std(noise_std) * 2 * np.pi * frequency,
        "joint_index": mean_and_spread(values),
      }
      for frequency, values in sines.items()
    ],
  }


def summarise(results: list[dict]) -> list[dict]:
  """A row a kind and weight: means over seeds."""
  rows = []
  for stochastic, weight in dict.fromkeys((result["stochastic"], result["robust_weight"]) for result in results):
    mine = [r for r in results if (r["stochastic"], r["robust_weight"]) == (stochastic, weight)]
    rows.append({
      "stochastic": stochastic, "robust_weight": weight,
      **{name: mean_and_spread([result[name] for result in mine]) for name in ("K", "joint_index")},
    })
  return rows


def trend(rows: list[dict]) -> dict[str, float]:
  """Spearman's rank correlation of lambda with K and with the index, over the deterministic rows' means."""
  rows = [row for row in rows if not row["stochastic"]]
  weights = [row["robust_weight"] for row in rows]
  return {name: float(spearmanr(weights, [row[name]["mean"] for row in rows])[0]) for name in ("K", "joint_index")}


def draw(results: list[dict], rows: list[dict], reference: dict, folder: pathlib.Path) -> pathlib.Path:
  """K against the index with the bound and the floor; both against lambda."""
  figure, (left, right) = new_figure(1, 2, 7.2, 3.3)
  for stochastic, color, marker in ((False, BLUE, "o"), (True, GREEN, "s")):
    mine = [result for result in results if result["stochastic"] == stochastic]
    points = [result["joint_index"] for result in mine], [result["K"] for result in mine]
    left.plot(*points, marker, color=color, label=f"{'stochastic' if stochastic else 'deterministic'} GANs")
  mean = reference["posterior_mean"]
  left.plot(mean["joint_index"]["mean"], mean["K"], "*", color=BLACK, markersize=8, label="posterior mean")
  made = reference["hand_made"]
  points = [one["joint_index"]["mean"] for one in made], [one["K"] for one in made]
  left.plot(*points, "^", color=BLACK, markerfacecolor="none", label="hand-made sines")
  index = np.geomspace(0.05, 0.99 * reference["m"], 200)
  left.plot(index, np.sqrt((reference["m"] / index) ** 2 - 1), "-", color=BLACK, label=r"$\sqrt{(m / W_1)^2 - 1}$")
  left.plot(index, reference["m"] / index - 1, "--", color=BLACK, label="$m / W_1 - 1$")
  mine = [result for result in results if not result["stochastic"]]
  sharpest = [max(result[f"sharpest_bound_w{p}"]["K"] for p in (1, 2)) for result in mine]
  left.plot([result["joint_index"] for result in mine], sharpest, "_", color=BLUE, label="each one's sharpest bound")
  floor = reference["floor_posterior_sampler_same_y"]["mean"]
  left.axvline(floor, color=GREY, linestyle=":", label="floor: posterior sampler")
  left.set(xlabel="joint index $W_1$", ylabel="Lipschitz constant K", yscale="log", ylim=(0.03, 60), xlim=(0, None))
  left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncol=2)

  rows = [row for row in rows if not row["stochastic"]]
  # Zero has no place on a logarithmic axis: it stands one step before the smallest weight.
  positions = np.arange(len(rows))
  names = [f"{row['robust_weight']:g}" for row in rows]
  twin = right.twinx()
  for axes, name, color, marker in ((right, "K", BLUE, "o"), (twin, "joint_index", BLACK, "^")):
    values = [row[name]["mean"] for row in rows]
    axes.errorbar(positions, values, [row[name]["std"] for row in rows], fmt=f"{marker}-", color=color, capsize=2)
  right.set(xlabel=r"$\lambda$ of the deterministic GANs", yscale="log")
  right.set_xticks(positions, names, rotation=45)
  right.set_ylabel("K (circles)", color=BLUE)
  twin.set_ylabel("joint index (triangles)")
  twin.spines["right"].set_visible(True)
  return save_figure(figure, folder, "gaussian_tradeoff")


def main(argv: list[str] | None = None) -> None:
  """Trains what is missing, measures, prints the table, writes JSON and the figure."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/gaussian_tradeoff"), help="resumed")
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--num_steps", type=int, default=Settings().num_steps)
  parser.add_argument("--noise_std", type=float, default=Settings().noise_std)
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="where the JSON and the figure go")
  parser.add_argument("--smoke", action="store_true", help="tiny nets for seconds, in a workdir of their own")
  args = parser.parse_args(argv)
  settings = Settings(noise_std=args.noise_std, num_steps=args.num_steps)
  weights, stochastic_weights = WEIGHTS, STOCHASTIC_WEIGHTS
  if args.smoke:
    settings, args.seeds = settings._replace(**SMOKE), 1
    weights, stochastic_weights = WEIGHTS[::5], STOCHASTIC_WEIGHTS[:1]
    args.workdir = args.workdir.with_name(args.workdir.name + "_smoke")
    args.out = args.workdir / "results" if args.out == FOLDER else args.out
    jax.config.update("jax_disable_most_optimizations", True)  # the tiny programs compile far longer than they run
  runs = make_runs(weights, stochastic_weights, args.seeds)
  started = time.monotonic()
  results = evaluate(settings, runs, train(settings, runs, args.workdir))
  rows, reference = summarise(results), references(settings.noise_std)
  correlations = trend(rows)
  # The bound is on deterministic estimators: that stochastic ones may lie below it is the point of having noise.
  below = {
    kind: [not result["above_bound"] for result in results if result["stochastic"] == (kind == "stochastic")]
    for kind in ("deterministic", "stochastic")
  }
  print(format_table(
    ["estimator", "lambda", "K", "std over seeds", "joint index", "std over seeds"],
    [["stochastic" if row["stochastic"] else "deterministic", row["robust_weight"],
      *(row[name][part] for name in ("K", "joint_index") for part in ("mean", "std"))] for row in rows],
  ))  # fmt: skip
  floor, fresh = (reference[f"floor_{name}"]["mean"] for name in ("posterior_sampler_same_y", "independent_samples"))
  print(f"m = {reference['m']:.4f}; index of the posterior sampler {floor:.4f}, of independent samples {fresh:.4f}")
  print(f"Spearman of lambda with K {correlations['K']:.2f}, with the index {correlations['joint_index']:.2f}")
  for kind, runs_below in below.items():
    print(f"{kind} estimators with K below a bound: {sum(runs_below)} of {len(runs_below)}")
  protocol = {"settings": settings._asdict(), "points": POINTS, "sets": SETS, "grid": GRID, "draws_of_z": DRAWS}
  content = {"rows": rows, "runs": results, "references": reference, "spearman": correlations}
  content |= {"violations": sum(below["deterministic"]), "stochastic_below_bound": sum(below["stochastic"])}
  content |= {"protocol": protocol | {"smoke": args.smoke}}
  write_results(args.out, "gaussian_tradeoff", content, time.monotonic() - started)
  draw(results, rows, reference, args.out)


if __name__ == "__main__":
  run_command(main)
