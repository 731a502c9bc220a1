"""The perception-robustness tradeoff of image restoration, in JAX and Flax.

The names below are all that most uses need; each is imported, and JAX with it, when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
  from prt_jax import features as features
  from prt_jax import metrics as metrics
  from prt_jax.attacks import adversarial_search as adversarial_search
  from prt_jax.attacks import ifgsm as ifgsm
  from prt_jax.audit import audit as audit
  from prt_jax.degradations import make_degradation as make_degradation
  from prt_jax.errors import UserError as UserError
  from prt_jax.evaluate import evaluate as evaluate
  from prt_jax.evaluation.exploration import explore as explore
  from prt_jax.models import Critic as Critic
  from prt_jax.models import UNet as UNet
  from prt_jax.restorers import Restorer as Restorer
  from prt_jax.restorers.by_name import load_restorer as load_restorer
  from prt_jax.restorers.from_run import load_run as load_run
  from prt_jax.train import train as train

__all__ = [
  "Critic",
  "Restorer",
  "UNet",
  "UserError",
  "__version__",
  "adversarial_search",
  "audit",
  "evaluate",
  "explore",
  "features",
  "ifgsm",
  "load_restorer",
  "load_run",
  "make_degradation",
  "metrics",
  "train",
]
# Where a name lies; the others are modules, of which audit, evaluate, explore and train are called like functions.
_PLACES = {
  "Critic": "models",
  "Restorer": "restorers",
  "UNet": "models",
  "UserError": "errors",
  "adversarial_search": "attacks",
  "ifgsm": "attacks",
  "load_restorer": "restorers.by_name",
  "load_run": "restorers.from_run",
  "make_degradation": "degradations",
}


def __getattr__(name: str):
  if name not in __all__:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  if name not in _PLACES:
    return importlib.import_module(f"{__name__}.{name}")
  return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
