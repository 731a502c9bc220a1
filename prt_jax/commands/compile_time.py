"""How much of a command's time XLA takes to compile."""


import jax

_EVENTS = ("/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration")


class CompileTime:
  """Counts from when it is made: seconds, wall clock, that programs took to be lowered and compiled, and how many they
  were. Those that a compilation cache had count as long as it took to read them."""

  def __init__(self):
    self.seconds, self.programs = 0.0, 0
    jax.monitoring.register_event_duration_secs_listener(self._add)

  def _add(self, event: str, duration_secs: float, **_: str | int):
    if event in _EVENTS:
      self.seconds += duration_secs
      self.programs += event == _EVENTS[-1]
