"""Published networks over the weights of their authors' checkpoints."""
