"""Searches for the small change of a measurement that changes its restoration most.

Restorers are passed as functions: restore(y, z) -> x handles one draw of the noise; z carries a
leading axis of S seeds, and the search averages over them with the SAME Z on both sides (Eq. 6).
"""

from prt_jax.attacks.changes import clip_change, keep_in_range, l2_norm, project_to_ball, to_sphere
from prt_jax.attacks.draws import (
  Restore,
  compiled_restore_seeds,
  first_draw,
  over_seeds,
  restore_seeds,
  sum_over_seeds,
)
from prt_jax.attacks.search import (
  Search,
  adversarial_search,
  ascend,
  change,
  conditional_step,
  search_step,
  start_search,
)
from prt_jax.attacks.sup_norm import START_SHARE, ifgsm, sign_ascent

__all__ = [
  "START_SHARE",
  "Restore",
  "Search",
  "adversarial_search",
  "ascend",
  "change",
  "clip_change",
  "compiled_restore_seeds",
  "conditional_step",
  "first_draw",
  "ifgsm",
  "keep_in_range",
  "l2_norm",
  "over_seeds",
  "project_to_ball",
  "restore_seeds",
  "search_step",
  "sign_ascent",
  "start_search",
  "sum_over_seeds",
  "to_sphere",
]
