"""What the commands of prt_jax share: their flags, exit codes and console entry points."""
