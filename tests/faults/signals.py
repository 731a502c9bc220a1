"""Signals at random moments: what each makes of a run, and that the same command then ends as if none had come."""

import signal
import time

from prt_jax.training.stop_request import EXIT_CODE, INTERRUPTED
from tests.faults.cases import CASES
from tests.faults.scene import Scene, expect

TERM, INT = signal.SIGTERM, signal.SIGINT
# Name: signals, the text after which and until when (of scene.PHASES) they come, exit codes that are right.
SIGNALS = {
  "SIGTERM while it prepares data": ([TERM], "preparation", "compilation", {-TERM, EXIT_CODE}),
  "SIGTERM while it compiles": ([TERM], "compilation", "steps", {EXIT_CODE}),
  "SIGINT while it compiles": ([INT], "compilation", "steps", {EXIT_CODE}),
  "SIGTERM in a step": ([TERM], "steps", "evaluation", {EXIT_CODE}),
  "SIGINT in a step": ([INT], "steps", "evaluation", {EXIT_CODE}),
  "SIGINT twice in a step": ([INT, INT], "steps", "evaluation", {EXIT_CODE, INTERRUPTED}),
  "SIGTERM twice in a step": ([TERM, TERM], "steps", "evaluation", {EXIT_CODE}),
  "SIGHUP in a step": ([signal.SIGHUP], "steps", "evaluation", {-signal.SIGHUP}),
  "SIGQUIT in a step": ([signal.SIGQUIT], "steps", "evaluation", {-signal.SIGQUIT}),
  "SIGTERM while it evaluates": ([TERM], "evaluation", "end", {-TERM, EXIT_CODE}),
  "SIGINT while it evaluates": ([INT], "evaluation", "end", {EXIT_CODE}),
  "SIGSTOP and SIGCONT in a step": ([signal.SIGSTOP, signal.SIGCONT], "steps", "evaluation", {0}),
}
SHARE = 0.6  # of a phase in which the signals come: the rest is for them to arrive in


def _make(numbers, phase, until, codes):
  def signalled(scene: Scene):
    from tests.faults.scene import PHASES

    keywords = {"fresh_data": True} if phase == "preparation" else {}
    mode = "train"
    if phase == "evaluation":
      scene.copy_reference()
      mode = "eval"
    # More steps are left than can be done meanwhile; the case's run is then that of a longer config, and its end too.
    process = scene.start(mode=mode, **keywords)
    expect(process.until_says(PHASES[phase]), f"never met: {process.last_line()}")
    if phase != "steps":
      time.sleep(scene.rng.uniform(0, SHARE * scene.seconds(phase, until)))
    for number in numbers:
      process.send(number)
      time.sleep(0.05)
    code = process.wait()
    expect(code in codes | {0}, f"it ended with {code}: {process.last_line()}")
    if code == EXIT_CODE:
      last = process.last_line()
      expect("Traceback" not in process.text() and ("stopped by" in last or "SIG" in process.text()), last)
    scene.same(**keywords)

  return signalled


CASES.update({name: _make(*row) for name, row in SIGNALS.items()})
