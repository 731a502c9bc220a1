"""As many kills as asked for, at random moments of random phases of whole commands, in chains: none may cost a bit."""

import json
import random
import time

from tests.faults.processes import Lost, Process
from tests.faults.scene import PHASES, Scene

MOMENTS = (*PHASES, "checkpoint")  # after which a kill comes; a checkpoint's is while it is written, or just after


def many_kills(scene: Scene, count: int) -> int:
  """Kills the command so many times in all; prints a line a chain; returns how many chains ended otherwise.

  A chain is a fresh workdir and a fresh cache of data, in which the command is started, killed and started again, until
  it once ends by itself: then the run is compared. What was counted is kept in kills.json of the scene's folder: the
  same command goes on there.
  """
  path = scene.root / "kills.json"
  counted = json.loads(path.read_text()) if path.exists() else {"kills": 0, "chains": 0, "in_this_chain": 0, "lost": []}
  while counted["kills"] < count or counted["in_this_chain"]:
    if not counted["in_this_chain"]:
      scene.start_case(f"chain {counted['chains']}")
    else:
      scene.go_on()
    what = "the same bits"
    try:
      while not ended(scene, random.Random(f"{scene.seed} {counted['chains']} {counted['in_this_chain']}")):
        counted |= {"kills": counted["kills"] + 1, "in_this_chain": counted["in_this_chain"] + 1}
        path.write_text(json.dumps(counted))
      scene.compare()
    except Lost as error:
      what = f"LOST: {error}"
      counted["lost"].append(f"chain {counted['chains']}: {error}")
    print(f"chain {counted['chains']}: {counted['in_this_chain']} kills, {what}; {counted['kills']} in all", flush=True)
    counted |= {"chains": counted["chains"] + 1, "in_this_chain": 0}
    path.write_text(json.dumps(counted))
  return len(counted["lost"])


def ended(scene: Scene, rng: random.Random) -> bool:
  """Runs the command and kills it a random time after a random moment; whether it ended before, which must be well."""
  process, moment = scene.start(fresh_data=True), rng.choice(MOMENTS)
  if process.until(lambda: is_at(moment, process, scene)):
    time.sleep(rng.uniform(0, length(scene, moment)))
    if process.kill() == -9:
      return False
  if process.code:
    raise Lost(f"it ended with {process.code}: {process.last_line()}")
  return True


def is_at(moment: str, process: Process, scene: Scene) -> bool:
  """Whether the moment has come."""
  if moment == "checkpoint":
    return any((scene.run / "checkpoints").glob("*tmp*"))
  return PHASES[moment] in process.text()


def length(scene: Scene, moment: str) -> float:
  """Seconds after it in which a kill comes: to the next phase of an undisturbed run."""
  if moment == "checkpoint":
    return 0.05
  after = [*PHASES, "end"]
  return scene.seconds(moment, after[after.index(moment) + 1])
