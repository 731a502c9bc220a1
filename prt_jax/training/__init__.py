"""The training of a config's restorer: its two players, steps, loop, checkpoints and logs."""
