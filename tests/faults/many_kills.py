"""As many kills as asked for, at random moments of whole commands, in chains: none may cost a bit."""

import json
import time

from tests.faults.processes import Lost
from tests.faults.scene import Scene


def many_kills(scene: Scene, count: int) -> int:
  """Kills the command so many times in all; prints a line a chain; returns how many chains ended otherwise.

  A chain is a fresh workdir and a fresh cache of data, in which the command is started, killed at a random moment and
  started again, until it once ends by itself: then the run is compared. What was counted is kept in kills.json of the
  scene's folder: the same command goes on.
  """
  path = scene.root / "kills.json"
  counted = json.loads(path.read_text()) if path.exists() else {"kills": 0, "chains": 0, "lost": []}
  longest = scene.phases["end"]
  while counted["kills"] < count:
    scene.start_case(f"chain {counted['chains']}")
    kills, what = 0, "the same bits"
    try:
      while not killed(scene, longest):
        kills += 1
      scene.compare()
    except Lost as error:
      what = f"LOST: {error}"
      counted["lost"].append(f"chain {counted['chains']}: {error}")
    counted |= {"kills": counted["kills"] + kills, "chains": counted["chains"] + 1}
    path.write_text(json.dumps(counted))
    print(f"chain {counted['chains']}: {kills} kills, {what} ({counted['kills']} of {count} kills)", flush=True)
  return len(counted["lost"])


def killed(scene: Scene, longest: float) -> bool:
  """Runs the command and kills it within its usual time; whether it ended by itself, which must be well."""
  process = scene.start(fresh_data=True)
  deadline = time.monotonic() + scene.rng.uniform(0, longest)
  while process.poll() is None and time.monotonic() < deadline:
    time.sleep(0.002)
  if process.poll() is None and process.kill() == -9:
    return False
  if process.code:
    raise Lost(f"it ended with {process.code}: {process.last_line()}")
  return True
