"""Which attacks an audit runs."""

from prt_jax.attacks.table import PAPERS, STRONGER, run_name
from prt_jax.audit.protocol import Protocol
from prt_jax.evaluation.measured_parts import AttackRun, curve_runs, training_runs

TWICE = "twice"
NUM_TWICE = 2  # images on which the stronger attack takes twice its steps: what that gains says whether it had ended


def attack_runs(protocol: Protocol, training_attack: dict | None, size: int, count: int) -> list[AttackRun]:
  """Those over the protocol's bounds, TWICE, and those of a training run's own evaluation.

  training_attack: Restorer.training_attack. size: values of a measurement. count: images.
  """
  alphas, without = [255 * alpha for alpha in protocol.alphas], protocol.num_strong_steps == 0
  runs = curve_runs(
    alphas, protocol.num_steps, count, protocol.num_restarts, protocol.num_strong_steps, norm=protocol.norm, size=size
  )
  wanted = at_bound(middle(protocol.alphas), STRONGER[protocol.norm])
  runs += [
    run._replace(name=TWICE, num_steps=2 * run.num_steps, count=NUM_TWICE) for run in runs if run.name == wanted
  ]
  own = training_runs(training_attack, count) if training_attack else []
  return runs + [run for run in own if not (run.beside and without)]


def at_bound(alpha: float, attack: str) -> str:
  """The name of an attack's run at one of the protocol's bounds, pixels in [0, 1]."""
  return run_name(attack, 255 * alpha)


def middle(alphas: tuple[float, ...]) -> float:
  """The bound at which reports say what twice the steps gain."""
  return alphas[len(alphas) // 2]


def shown(protocol: Protocol) -> dict[float, str]:
  """{bound: run of the papers' attack} that the gallery has pictures of: the smallest and the middle one."""
  alphas = dict.fromkeys((protocol.alphas[0], middle(protocol.alphas)))
  return {alpha: at_bound(alpha, PAPERS[protocol.norm]) for alpha in alphas}
