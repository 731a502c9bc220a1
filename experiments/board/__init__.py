"""A board of restorers: published networks on Set5, Set14 and BSD100 under one protocol.

  python -m experiments.board                                       # draws docs/board.md and docs/board.html
  python -m experiments.board --add=runs/audit --source=URL         # an audit's report becomes an entry, checked
  python -m experiments.board --weights=DIR --images=DIR            # measures what is missing, network after network

An entry is a file of docs/board/, one for a restorer and a set: entry.schema.json says what is in it, entries.PROTOCOL
how it was measured. A measuring that was stopped goes on where it was.
"""
