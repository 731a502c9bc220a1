"""How a run is asked to stop: by SIGTERM or SIGINT, which it notes, so that it can save and leave at the next step."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

EXIT_CODE = 75  # of a command that a signal stopped, saved: the same command resumes (EX_TEMPFAIL of sysexits.h)
INTERRUPTED = 128 + signal.SIGINT  # of a command that left without saving more
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
  """A with-block in which signals are noted: `signal_name` is the last one's, None until there is one.

  A second SIGINT leaves at once; what is on disk stays. A thread of its own sees to that, and answers each signal: the
  main thread may be inside a compilation for minutes, where Python's handlers wait.
  """

  def __init__(self):
    self.signal_name = None
    self._when_leaving = None

  def __enter__(self):
    self._previous = {}
    if threading.current_thread() is threading.main_thread():
      self._reading, writing = os.pipe()
      os.set_blocking(writing, False)
      self._previous_wakeup, self._writing = signal.set_wakeup_fd(writing), writing
      for number in SIGNALS:
        self._previous[number] = signal.signal(number, self._note)
      threading.Thread(target=self._answer, daemon=True, name="signals").start()
    return self

  def __exit__(self, *_):
    for number, handler in self._previous.items():
      signal.signal(number, handler)
    if self._previous:
      signal.set_wakeup_fd(self._previous_wakeup)
      os.close(self._writing)  # ends the thread

  @contextlib.contextmanager
  def leaving_at_once(self, what_stays: str) -> Iterator[None]:
    """A block in which nothing would be saved by waiting (a first compilation): the first signal leaves at once.

    Of several hosts none leaves alone.
    """
    from prt_jax import devices

    if devices.is_alone():
      self._when_leaving = what_stays
      if self.signal_name:
        self._leave(self.signal_name)
    try:
      yield
    finally:
      self._when_leaving = None

  def is_set(self) -> bool:
    """Whether there was a signal."""
    return self.signal_name is not None

  def _note(self, number, _):
    self.signal_name = signal.Signals(number).name

  def _answer(self):
    asked = False
    while number := os.read(self._reading, 1):
      if number[0] not in SIGNALS:
        continue
      name = signal.Signals(number[0]).name
      if asked and number[0] == signal.SIGINT:
        _say("left at once: what is on disk stays, the same command resumes from there")
        os._exit(INTERRUPTED)
      if self._when_leaving:
        self._leave(name)
      asked = True
      _say(f"{name}: saving at the next step, then leaving; Ctrl-C (again) leaves at once, with the newest checkpoint")
    os.close(self._reading)

  def _leave(self, name):
    _say(f"stopped by {name} while compiling; {self._when_leaving}")
    os._exit(EXIT_CODE)


def _say(text):
  os.write(2, f"{text}\n".encode())
