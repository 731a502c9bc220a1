"""Peak memory: of this process by the operating system, of a compiled program by XLA's own account."""

import pathlib
import resource


def reset_process_peak() -> None:
  """Lets peak_process_bytes start anew, where Linux allows it."""
  try:
    pathlib.Path("/proc/self/clear_refs").write_text("5")
  except OSError:
    return


def peak_process_bytes() -> int:
  """The largest resident memory of this process since reset_process_peak (or, without Linux's /proc, ever)."""
  try:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
      if line.startswith("VmHWM:"):
        return int(line.split()[1]) * 1024
  except OSError:
    pass
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def program_bytes(analysis) -> int:
  """The peak of a compiled program's memory_analysis(): arguments, outputs and temporaries, what is donated once."""
  total = analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes
  return total - analysis.alias_size_in_bytes
