"""Measures the networks at hand on the board's sets, one after the other; what is there already is left alone."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from absl import logging

from experiments.board.entries import FLAGS, SETS, WHOLE
from experiments.networks import NETWORKS, at_hand, check_names, file_of
from prt_jax.audit import command_line
from prt_jax.errors import UserError


class Job(NamedTuple):
  """One audit: of a network of a scale on the first n pictures of a set."""

  dataset: str
  n: int
  network: str
  scale: int


def jobs(
  weights: pathlib.Path, sets: Sequence[str], scales: Sequence[int], first: dict[str, int], networks: Sequence[str] = ()
) -> list[Job]:
  """What is to be measured, in order: scale by scale, set by set, a network after the other.

  Args:
    weights: the folder of the networks' files.
    sets, scales: which.
    first: {set: how many of its pictures}; others whole.
    networks: which, in order; those that have no file of a scale are left out there. None: all whose files are there.

  Raises:
    UserError: another set than the board's; a network that is not known, or that has no file at any of the scales.
  """
  if unknown := [name for name in sets if name not in SETS]:
    raise UserError(f"--sets={unknown[0]}: the board's are {', '.join(SETS)}")
  there = {scale: at_hand(weights, scale) for scale in scales}
  for name in networks:
    if not any(name in names for names in there.values()):
      check_names([name], weights, scales[0])
  chosen = {scale: [name for name in networks or names if name in names] for scale, names in there.items()}
  return [
    Job(dataset, first.get(dataset, WHOLE[dataset]), network, scale)
    for scale in scales for dataset in sets for network in chosen[scale]
  ]  # fmt: skip


def is_there(job: Job, entries: Sequence[dict]) -> bool:
  """Whether an entry of the board is of this job, by the source and the file of its weights."""
  network = NETWORKS[job.network]
  wanted = job.dataset, job.n, job.scale, network.files[job.scale], network.source
  return any(
    wanted == (
      entry["set"], entry["n"], entry["scale"], entry["weights"] and entry["weights"]["file"],
      entry["weights"]["source"] if entry["weights"] else "",
    )
    for entry in entries
  )  # fmt: skip


def measure(
  wanted: Sequence[Job], weights: pathlib.Path, images: pathlib.Path, output: pathlib.Path
) -> Iterator[tuple[Job, pathlib.Path]]:
  """Audits job after job: yields each with the folder of its report. An audit that was stopped goes on."""
  for number, job in enumerate(wanted, start=1):
    folder = output / job.dataset / f"{job.network}_x{job.scale}"
    logging.info("%d of %d: %s x%d on %d of %s", number, len(wanted), job.network, job.scale, job.n, job.dataset)
    command_line.main(arguments(job, weights, images, folder))
    yield job, folder


def arguments(job: Job, weights: pathlib.Path, images: pathlib.Path, output: pathlib.Path) -> list[str]:
  """The flags of python -m prt_jax.audit that a job comes to."""
  network = NETWORKS[job.network]
  restorer = network.restorer or job.network
  flags = [f"--restorer={restorer}", f"--input={images / job.dataset}", f"--output={output}", f"--max_images={job.n}"]
  if network.files[job.scale]:
    flags.append(f"--checkpoint={file_of(job.network, weights, job.scale)}")
  if restorer != "spandrel":  # which reads it off the file
    flags.append(f"--scale={job.scale}")
  return [*flags, *FLAGS, "--feature_extractor=none"]
