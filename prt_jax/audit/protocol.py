"""How an audit is made: its attacks, draws and thresholds."""

import dataclasses

from prt_jax.attacks.table import PAPERS
from prt_jax.errors import UserError

ALPHAS = tuple(alpha / 255 for alpha in (1, 2, 4, 8, 16, 32))  # paper A, Fig. 7


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Attributes:
  alphas: bounds of the attacks, pixels in [0, 1].
  num_steps: of the papers' attack: I-FGSM, or in L2 paper A's inner search.
  num_strong_steps: of each start of the stronger attack beside it (attacks/table.py); None: a fifth more; 0 = none.
  num_seeds: draws of Z of a stochastic restorer, in attacks and diversity (paper A: 10).
  num_std_seeds: draws for the per-pixel standard deviation; None: num_seeds.
  num_restarts: attacks from different starts; the strongest counts.
  num_jacobian_steps: power iterations for the Jacobian's norm; 0 = leave it out.
  noise_std: of the measurement noise, pixels in [0, 1]; consistency is then judged against it.
  border: pixels on each side that PSNR-Y leaves out; None: the magnification, where there is one (scale_of), and 0 for
    a restorer of one image size, a training run's.
  seed: of every random number.
  num_neighbors: k of precision, recall, density and coverage.
  min_images: fewer say nothing of distributions: then these and Frechet distances are left out.
  norm: what alphas bound: "sup", the largest change of any value; "L2", the root mean square over a measurement.

  Example:
    >>> Protocol(alphas=(1 / 255,), num_steps=20).num_seeds
    10
  """

  alphas: tuple[float, ...] = ALPHAS
  num_steps: int = 50
  num_strong_steps: int | None = None
  num_seeds: int = 10
  num_std_seeds: int | None = None
  num_restarts: int = 1
  num_jacobian_steps: int = 10
  noise_std: float = 0.0
  border: int | None = None
  seed: int = 0
  num_neighbors: int = 3
  min_images: int = 50
  norm: str = "sup"

  def __post_init__(self):
    if not self.alphas or not all(0 < alpha <= 1 for alpha in self.alphas):
      raise UserError(f"alphas={self.alphas}: attacks need bounds over 0, at most 1 (pixels in [0, 1])")
    if self.norm not in PAPERS:
      raise UserError(f"norm={self.norm} is none of {', '.join(PAPERS)}")
    for name in ("num_steps", "num_seeds", "num_restarts"):
      if getattr(self, name) < 1:
        raise UserError(f"{name}={getattr(self, name)} must be at least 1")
    if (self.num_strong_steps or 0) < 0:
      raise UserError(f"num_strong_steps={self.num_strong_steps} must not be negative: 0 leaves that attack out")
    if self.border is not None and self.border < 0:
      raise UserError(f"border={self.border} must not be negative: 0 leaves out nothing")
