"""Tests that need a compiler for an accelerator, minutes each: not part of the suite, run by `make compiled`."""


def pytest_addoption(parser):
  parser.addoption("--record", action="store_true", help="write what the compiler makes now, to be compared with later")
