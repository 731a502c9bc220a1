"""Readers of weights that others have trained: none of them executes what it reads."""
