"""How consistency is to be read in an evaluation's report, and what it forces upon K and robustness."""

import math

from prt_jax import quality_bounds
from prt_jax.degradations import Degradation
from prt_jax.evaluation.results import QUANTILES


def consistency_floors(degradation: Degradation, results: dict) -> dict | None:
  """What K and robustness are read against: the least K and the largest robustness, in dB, under the attack's AI-PSNR,
  of whatever agrees with y exactly, and by how much K goes beyond; None where consistency is not exact and linear."""
  norm = getattr(degradation, "norm", None)
  if not norm or not degradation.projects or degradation.consistency != "exact" or "ai_psnr_db" not in results:
    return None
  least, size = quality_bounds.consistency_floor(norm), math.prod(degradation.image_shape)
  ai_psnr = results["ai_psnr_db"]["value"]
  return {
    "lipschitz": least,
    "robustness_db": quality_bounds.robustness_ceiling(ai_psnr, norm, size, degradation.psnr_size),
    "lipschitz_beyond": {
      ending: quality_bounds.beyond_floor(results[f"lipschitz_{ending}"]["value"], least)
      for ending in QUANTILES if f"lipschitz_{ending}" in results
    },
  }  # fmt: skip


def about_floors(floors: dict | None) -> list[str]:
  """consistency_floors in words."""
  if not floors:
    return []
  beyond = "".join(f"; {QUANTILES[name][0]} {value:.2f}" for name, value in floors["lipschitz_beyond"].items())
  return [
    f"Exact consistency alone forces K >= {floors['lipschitz']:.3g}, and robustness of at most "
    f"{floors['robustness_db']:.2f} dB under this attack. What K has beyond that, sqrt(K^2 - floor^2){beyond}."
  ]


def about_consistency(degradation: Degradation) -> list[str]:
  """How the consistency in a report is to be read, where it is not plainly that D(restoration) = y."""
  noise_std, lines = degradation.noise_std, []
  if not degradation.projects:
    lines.append(
      f"No exact projection belongs to this task ({degradation.title}): that D(restoration) = y is not built in, and "
      "the consistency above is as near as the restorer comes."
    )
  if not noise_std:
    return lines
  decibels = f"{noise_std:g} ({-20 * math.log10(noise_std):.1f} dB)"
  if degradation.consistency == "statistical":
    size = "at most" if degradation.projects else "about"
    meant = f"The projection leaves a residual of {size} that RMSE, what the original itself misses y by: {decibels}."
  elif degradation.projects:
    meant = (
      "The projection makes D(restoration) equal the noisy y, so the consistency above says that noise was fitted; a "
      f"sample of the posterior would miss y by an RMSE of about {noise_std:g}."
    )
  else:
    meant = (
      f"A sample of the posterior misses y by an RMSE of about {decibels}; a consistency far above says that noise was "
      "fitted."
    )
  return [*lines, f"The measurements carry noise of std {noise_std:g}. {meant}"]
