"""Files that survive crashes: locks, digests, JSON, pictures, and the readers of others' weights."""
