"""How far can a restorer be trusted? Its distortion, consistency, robustness, Lipschitz bound and diversity.

  python -m prt_jax.audit --restorer=imdn --checkpoint=FILE --scale=4 --input=DIR --output=DIR

writes report.json and report.html. In Python, audit(restore, y) takes a function of your own.
"""

from prt_jax.audit.auditor import Auditor, audit
from prt_jax.audit.protocol import ALPHAS, Protocol
from prt_jax.audit.summary import Pictures, joint_index
from prt_jax.importing import make_callable

__all__ = ["ALPHAS", "Auditor", "Pictures", "Protocol", "audit", "joint_index"]

make_callable(__name__, audit)
