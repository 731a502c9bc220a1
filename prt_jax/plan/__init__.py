"""What a run will need, without a device: `plan`; and the command that prints it."""

from prt_jax.plan.planning import Plan, plan, plan_all
from prt_jax.plan.text import command

__all__ = ["Plan", "command", "plan", "plan_all"]
