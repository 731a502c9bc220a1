"""What each saving is worth: a step as it is, against the same step with one saving taken back.

python -m benchmarks.savings --device=cpu --batch=2 --seeds=2 --attack_steps=1 --json=FILE

On an accelerator: a step in its formulation, against each choice of that made the other way. Each saving is exact: the
last column is ||gradient - gradient as it is|| / ||gradient as it is||, rounding in the step's dtype. On a CPU the
option model.dtype=bfloat16 stands beside them, and there that column is its price.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple
from unittest import mock

import numpy as np
from absl import logging

from benchmarks import settings
from benchmarks.memory_use import program_bytes
from experiments.results import format_table

AS_IT_IS = "as it is"


class Alternative(NamedTuple):
  """One way to compute a step.

  Attributes:
    name: for the table.
    steps: of jax_steps.SINGLE_STEPS, those that it changes.
    patches: what it replaces: (object, attribute, replacement).
    fields: config fields that it changes.
    donate: whether the state's memory is given to the new one.
  """

  name: str
  steps: tuple[str, ...]
  patches: tuple[tuple[object, str, object], ...] = ()
  fields: tuple[tuple[str, object], ...] = ()
  donate: bool = True


def formulation_choices() -> list[Alternative]:
  """The choices of an accelerator's formulation (prt_jax.models.formulations), each made the other way."""
  from prt_jax import devices
  from prt_jax.models import formulations

  platform = devices.backend()
  chosen, other = (formulations.FORMULATIONS[name] for name in (platform, {"gpu": "tpu", "tpu": "gpu"}[platform]))
  critic, generator, robust = ("critic", "plain"), ("plain", "robust"), ("robust",)
  otherwise = (
    ("the other accelerator's formulation", ("critic", *generator), other),
    ("the critic's pools after its convolutions", critic, dataclasses.replace(chosen, lanes=0)),
    ("widest planes in blocks, concatenations as sums", generator, dataclasses.replace(chosen, blocks=True, sums=True)),
    ("concatenations as sums", generator, dataclasses.replace(chosen, blocks=False, sums=True)),
    ("concatenations made", generator, dataclasses.replace(chosen, blocks=False, sums=False)),
    ("pools by reshaping", generator, dataclasses.replace(chosen, strided_pools=False)),
    ("seeds under vmap", robust, dataclasses.replace(chosen, merges_seeds=False)),
    ("the search written out", robust, dataclasses.replace(chosen, unrolls_search=True)),
  )
  return [
    *(
      Alternative(name, steps, ((formulations, "FORMULATIONS", {platform: formulation}),))
      for name, steps, formulation in otherwise
      if formulation != chosen
    ),
    Alternative("one seed at a time", robust, fields=(("attack.seeds_at_once", 1),)),
  ]


def savings(num_seeds: int) -> list[Alternative]:
  """Every saving of the CPU's formulation, taken back; and the option of computing in bfloat16."""
  import jax

  from prt_jax.attacks import draws
  from prt_jax.models import convolution, layers, unet
  from prt_jax.training import step
  from prt_jax.training.estimator import restore

  def stem_features(self, x, train):
    return self.double_convs[0](x, train=train)

  def complete_with_concatenations(self, features, z, train):
    x, skips = features, []
    for z_level, double_conv in zip(z, self.double_convs[1:], strict=False):
      skips.append(x)
      x = double_conv(unet.max_pool(jax.numpy.concatenate([x, z_level.astype(x.dtype)], -1)), train=train)
    for skip, double_conv in zip(reversed(skips), self.double_convs[1 + unet.LEVELS :], strict=True):
      x = double_conv(skip, unet.Upsampled(x), train=train)
    return self.last(x).astype(jax.numpy.float32)

  def summed_loop(function, shared, outputs, z, seeds_at_once):
    def of_one(pair):
      return function(shared, *jax.tree.map(lambda leaf: leaf[None], pair))

    return jax.numpy.sum(draws.over_seeds(jax.vmap(of_one), (outputs, z), seeds_at_once))

  def begin_nothing(game, params, batch_stats, y, *, train):
    return y, batch_stats

  def restore_seeds(game, params, batch_stats, y, z, *, train):
    return jax.vmap(lambda z: restore(game, params, batch_stats, y, z, train=train))(z)

  def reduce_window_pool(x, strided=False):
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(x, -np.inf, jax.lax.max, window, window, "VALID")

  def resize(x):
    batch, height, width, channels = x.shape
    return jax.image.resize(x, (batch, 2 * height, 2 * width, channels), "bilinear")

  every, generator = ("critic", "plain", "robust"), ("plain", "robust")
  return [
    Alternative("JAX's own gradients of a convolution", every, ((layers, "convolve_3x3", layers.plain_convolution),)),
    Alternative("one column at a time", ("critic",), ((convolution, "_columns_at_once", lambda *_: 1),)),
    Alternative("few channels as they are", every, ((layers, "fill_channels", lambda *pair: pair),)),
    Alternative("2x2 planes as convolutions", ("critic",), ((layers, "SMALL_PLANE", 0),)),
    Alternative("max-pool by reduce_window", generator, ((unet, "max_pool", reduce_window_pool),)),
    Alternative("upsampling by jax.image.resize", generator, ((layers, "upsample_bilinear", resize),)),
    Alternative("the state not donated", generator, donate=False),
    Alternative("computed in bfloat16", every, fields=(("model.dtype", "bfloat16"),)),
    Alternative("all seeds at once", ("robust",), fields=(("attack.seeds_at_once", num_seeds),)),
    Alternative("stem for every seed", ("robust",), (
      (step, "begin", begin_nothing), (step, "complete_seeds", restore_seeds))),
    Alternative("stem's features convolved for every seed", generator, (
      (unet.UNet, "stem", stem_features), (unet.UNet, "complete", complete_with_concatenations))),
    Alternative("first restorations' convolutions computed again", ("robust",), ((draws, "_KEPT", None),)),
    Alternative("values computed again for gradients", ("robust",), (
      (step, "sum_over_seeds", summed_loop),)),
  ]  # fmt: skip


@contextlib.contextmanager
def in_place(alternative: Alternative) -> Iterator[None]:
  """The alternative's replacements, while a step is traced."""
  with contextlib.ExitStack() as stack:
    for owner, name, replacement in alternative.patches:
      stack.enter_context(mock.patch.object(owner, name, replacement))
    yield


class Compiled(NamedTuple):
  """A compiled step."""

  program: Callable
  compile_s: float
  peak_bytes: int


def lower_step(config, step: str, alternative: Alternative):
  """One step of a config, computed the alternative's way, lowered: it can be compiled beside others."""
  import jax

  from benchmarks.jax_steps import FUNCTIONS, abstract_arguments
  from prt_jax.training.gan import make_game

  config = config.copy_and_resolve_references()
  config.update_from_flattened_dict(dict(alternative.fields))
  with in_place(alternative):
    game = make_game(config)  # of its own: traces are kept by game
    function = jax.jit(functools.partial(FUNCTIONS[step], game), donate_argnums=(0,) if alternative.donate else ())
    return function.lower(*abstract_arguments(game))


def compile_lowered(lowered) -> Compiled:
  """What lower_step gives, compiled."""
  start = time.perf_counter()
  program = lowered.compile()
  return Compiled(program, time.perf_counter() - start, program_bytes(program.memory_analysis()))


def compare(config, step: str, alternatives: list[Alternative], repeats: int, jobs: int = 1) -> list[dict]:
  """Times the alternatives, in turn, against the step as it is; a dict each, that one first. jobs: compile at once."""
  import jax
  import optax

  from benchmarks.jax_steps import make_arguments
  from prt_jax.training.gan import make_game

  def gradient(state):
    # Adam's first moment after one step, a multiple of it.
    optimizer = state.critic_optimizer if step == "critic" else state.generator_optimizer
    moment = optax.tree_utils.tree_get(optimizer, "mu")
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(moment)])

  state, images, key = make_arguments(make_game(config))
  compiling = {}
  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    for alternative in [Alternative(AS_IT_IS, (step,)), *alternatives]:
      logging.info("%s: %s", step, alternative.name)
      compiling[alternative.name] = pool.submit(compile_lowered, lower_step(config, step, alternative))
  compiled = {name: future.result() for name, future in compiling.items()}

  samples, gradients = {name: [] for name in compiled}, {}
  for repeat in range(repeats + 1):
    for name, (program, *_) in compiled.items():
      fresh = jax.block_until_ready(jax.tree.map(jax.numpy.copy, state))
      before = time.perf_counter()
      after, _ = jax.block_until_ready(program(fresh, images, key))
      seconds = time.perf_counter() - before
      if repeat:
        samples[name].append(seconds)
      else:
        logging.info("%s: %s: %.3g s a call", step, name, seconds)
        gradients[name] = gradient(after)

  own = gradients[AS_IT_IS]
  return [
    {"step": step, "name": name}
    | {"relative_difference": float(np.linalg.norm(gradients[name] - own) / np.linalg.norm(own))}
    | {"peak_bytes": compiled[name].peak_bytes, "compile_s": compiled[name].compile_s}
    | settings.spread(samples[name])
    for name in compiled
  ]


def run_comparisons(argv: list[str], description: str, module: str, steps: str, make_alternatives: Callable) -> None:
  """The command of a comparison: parses, compares step by step, prints the table and writes the JSON after each."""
  parser = settings.make_parser(description)
  parser.add_argument("--steps", default=steps, help="comma-separated")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="model.dtype, if not the config's")
  parser.add_argument("--jobs", type=int, default=1, help="programs that are compiled at a time")
  args = parser.parse_args(argv)
  config = settings.load_config(args)
  config.model.dtype = args.dtype or config.model.dtype
  settings.select_device(args.device, config)
  results = settings.provenance(module, config)
  results["settings"] |= {"device": args.device, "dtype": config.model.dtype, "repeats": args.repeats}
  results["rows"] = {"jax": settings.device_description()}
  results["lines"] = []
  alternatives = make_alternatives(config)
  for step in args.steps.split(","):
    chosen = [alternative for alternative in alternatives if step in alternative.steps]
    results["lines"] += compare(config, step, chosen, args.repeats, args.jobs)
    settings.write_json(args.json, results)
  print(render(results))


def main(argv: list[str]) -> None:
  """Compares every step with each of its savings taken back; on an accelerator with the other formulations."""

  def alternatives(config):
    import jax

    return savings(config.attack.num_seeds) if jax.default_backend() == "cpu" else formulation_choices()

  run_comparisons(argv, __doc__, "benchmarks.savings", "critic,plain,robust", alternatives)


def render(results: dict) -> str:
  """A line a step and alternative."""
  own = {line["step"]: line["median_s"] for line in results["lines"] if line["name"] == AS_IT_IS}
  rows = [
    [
      line["step"],
      line["name"],
      line["median_s"],
      f"{line['min_s']:.3g} to {line['max_s']:.3g}",
      line["median_s"] / own[line["step"]],
      line["peak_bytes"] / 1e9,
      line["compile_s"],
      f"{line['relative_difference']:.1g}",
    ]
    for line in results["lines"]
  ]
  header = ["step", "computed", "median s", "spread s", "times as it is", "peak GB", "compile s", "difference"]
  return format_table(header, rows)


if __name__ == "__main__":
  settings.run(main)
