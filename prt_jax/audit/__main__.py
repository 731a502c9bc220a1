"""python -m prt_jax.audit."""

from prt_jax.audit.command_line import main
from prt_jax.commands.parser import run

if __name__ == "__main__":
  run(main)
