"""A line in the log every few seconds."""

import time

from absl import logging


class Progress:
  """Logs 'prepared 12000 of 162770 images (7%), 3200 images/s' at most every `interval` seconds."""

  def __init__(self, total: int, interval: float = 5.0):
    self._total, self._interval = total, interval
    self._done, self._started = 0, time.monotonic()
    self._last = self._started

  def advance(self) -> None:
    """Counts one image."""
    self._done += 1
    now = time.monotonic()
    if now - self._last >= self._interval:
      self._last = now
      self._log(now)

  def finish(self) -> None:
    """Logs the totals."""
    self._log(time.monotonic())

  def _log(self, now):
    rate = self._done / max(now - self._started, 1e-9)
    share = 100 * self._done // max(self._total, 1)
    logging.info("prepared %d of %d images (%d%%), %.0f images/s", self._done, self._total, share, rate)
