"""Reads the text of a compiled program: what is executed, how often, what it is and what it moves.

A compiled program is a list of computations (`Compiled.as_text()`), of which the entry and the bodies of loops are
executed instruction by instruction; a fusion's computation is one kernel. Nothing here imports JAX.
"""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping

# A routine of a library, by a part of its name; all other members of a kind are opcodes, written in full.
LIBRARIES = ("cudnn", "cublas")
MOVES = ("copy", "transpose", "concatenate", "pad", "slice", "reverse", "gather", "scatter", "dynamic-slice",
         "dynamic-update-slice")  # fmt: skip
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
CONTAINERS = ("while", "call", "conditional")  # their contents are executed instruction by instruction
# Names and views of arrays, which cost nothing.
_FREE = frozenset({"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "opt-barrier",
                   "partition-id", "replica-id"})  # fmt: skip
_FREE_TARGETS = frozenset({"ConcatBitcast", "AllocateBuffer"})
_CALLED = re.compile(r"\b(?:calls|to_apply|body)=%?([\w.\-]+)")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([^\]]*)\](?:\{([^}]*)\})?")


@dataclasses.dataclass(frozen=True)
class Array:
  """One array of a shape: 'bf16[64,32]{0,1:T(8,128)(2,1)S(1)}'.

  Attributes:
    dtype: 'bf16'.
    dimensions: (64, 32).
    layout: '0,1:T(8,128)(2,1)S(1)', or ''.
  """

  dtype: str
  dimensions: tuple[int, ...]
  layout: str

  @property
  def bytes(self) -> int:
    """What it takes in memory, its dimensions filled up to whole tiles."""
    order, _, rest = self.layout.partition(":")
    dimensions = [self.dimensions[int(place)] for place in order.split(",") if place] or list(self.dimensions[::-1])
    if tile := re.search(r"T\(([\d,]+)\)", rest):
      # The last side of a tile is the first dimension's of the layout.
      for place, side in enumerate(tile[1].split(",")[::-1][: len(dimensions)]):
        dimensions[place] = -(-dimensions[place] // int(side)) * int(side)
    return math.ceil(math.prod(dimensions) * _bits(self.dtype) / 8)

  @property
  def memory_space(self) -> int:
    """0: the chip's main memory; 1: a TPU's vector memory, beside its units."""
    space = re.search(r"S\((\d+)\)", self.layout)
    return int(space[1]) if space else 0


def _bits(dtype):
  if dtype == "pred":
    return 8
  digits = re.search(r"\d+", dtype)  # none: a token
  return int(digits[0]) if digits else 0


def arrays(shape: str) -> list[Array]:
  """All arrays of a shape, a tuple's in their order."""
  return [
    Array(dtype, tuple(int(size.strip("<= ")) for size in sizes.split(",") if size), layout or "")
    for dtype, sizes, layout in _ARRAY.findall(re.sub(r"/\*.*?\*/", "", shape))
  ]


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation: name = shape opcode(operands), attributes.

  Attributes:
    operands: names of instructions of the same computation.
    attributes: the rest of the line; of a constant, its value in parentheses.
  """

  name: str
  shape: str
  opcode: str
  operands: tuple[str, ...]
  attributes: str

  @property
  def called(self) -> tuple[str, ...]:
    """The computations that it is made of, or executes; not a loop's condition, a few scalars."""
    branches = re.search(r"branch_computations=\{([^}]*)\}", self.attributes)
    either = re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", self.attributes)
    return (*_CALLED.findall(self.attributes), *re.findall(r"[\w.\-]+", branches[1] if branches else ""), *either)

  @property
  def cycles(self) -> int | None:
    """The TPU compiler's estimate; None where it gives none (what is done beside others, say)."""
    found = re.search(r'"estimated_cycles":"?(\d+)', self.attributes)
    return int(found[1]) if found else None

  @property
  def source(self) -> str:
    """The name of the operation in the traced function, with those of its modules; '' where it is the compiler's."""
    found = re.search(r'op_name="([^"]*)"', self.attributes)
    return found[1] if found else ""

  @property
  def target(self) -> str:
    """The routine of a custom call; '' of anything else."""
    found = re.search(r'custom_call_target="([^"]+)"', self.attributes)
    return found[1] if found else ""

  @property
  def is_free(self) -> bool:
    """Whether executing it costs nothing: names and views, and the end of what was started before."""
    return self.opcode in _FREE or self.target in _FREE_TARGETS or self.opcode.endswith("-done")


class Program:
  """A compiled program.

  Attributes:
    computations: {name: its instructions in order, by name}.
    entry: the name of the computation that the program is.
  """

  def __init__(self, text: str):
    self.computations: dict[str, dict[str, Instruction]] = {}
    self.entry = ""
    instructions: dict[str, Instruction] = {}
    for line in text.splitlines():
      if match := _COMPUTATION.match(line):
        instructions = self.computations[match[1]] = {}
        if line.startswith("ENTRY"):
          self.entry = match[1]
      elif match := _INSTRUCTION.match(line):
        instructions[match[1]] = _parse(match[1], match[2])

  def executed(self) -> Iterator[tuple[Instruction, str, int]]:
    """(instruction, its computation, how often): those of the entry and, in place of loops and calls, of what these
    execute; a loop of unknown length goes round once, and all branches of a choice are taken. Free ones are left out.
    """
    return self._executed(self.entry, 1)

  def _executed(self, computation, times):
    for instruction in self.computations.get(computation, {}).values():
      if instruction.opcode in CONTAINERS:
        for called in instruction.called:
          yield from self._executed(called, times * (self.turns(instruction) or 1))
      elif not instruction.is_free:
        yield instruction, computation, times

  def turns(self, instruction: Instruction) -> int | None:
    """How often a container's computation is executed in a row: of a loop, as the compiler says or its condition does.

    None where neither does. A condition "counter < constant" is taken for one of jax.lax.fori_loop from 0.
    """
    if instruction.opcode != "while":
      return 1
    if known := re.search(r'"known_trip_count":\{"n":"?(\d+)', instruction.attributes):
      return int(known[1])
    name = re.search(r"condition=%?([\w.\-]+)", instruction.attributes)
    condition = self.computations.get(name[1], {}) if name else {}
    *_, root = condition.values() or [instruction]
    if root.opcode != "compare" or "direction=LT" not in root.attributes:
      return None
    limit = re.fullmatch(r"\((\d+)\).*", condition[root.operands[1]].attributes)
    return int(limit[1]) if limit else None

  def unknown_loops(self) -> int:
    """Loops whose number of turns is not known, and which are counted as one turn."""
    every = itertools.chain.from_iterable(instructions.values() for instructions in self.computations.values())
    return sum(self.turns(instruction) is None for instruction in every if instruction.opcode == "while")

  @functools.cached_property
  def _contents(self):
    return {}

  def contents(self, instruction: Instruction) -> frozenset[str]:
    """The opcode, those of all that is fused into it, and the names of the routines that it calls."""
    found = {instruction.opcode, instruction.target} - {""}
    if instruction.opcode in ("fusion", "async-start"):
      for name in instruction.called:
        if name not in self._contents:
          inside = self.computations.get(name, {}).values()
          self._contents[name] = frozenset().union(*(self.contents(fused) for fused in inside))
        found |= self._contents[name]
    return frozenset(found)

  def operands(self, instruction: Instruction, computation: str) -> list[Array]:
    """The arrays that it reads, a tuple's one by one."""
    known = self.computations[computation]
    return [array for name in instruction.operands if name in known for array in arrays(known[name].shape)]

  def traffic(self, instruction: Instruction, computation: str) -> list[Array]:
    """The arrays that it reads and writes, each whole."""
    results = arrays(instruction.shape)
    # What is started gives a tuple of its operands, its results and its state.
    asynchronous = instruction.opcode.endswith("-start")
    return results if asynchronous else results + self.operands(instruction, computation)

  def flops(self, instruction: Instruction, computation: str) -> int:
    """Of its convolutions and matrix products, those fused into it included: 2 a multiplication and addition."""
    if instruction.opcode in ("fusion", "async-start"):
      return sum(
        self.flops(fused, name)
        for name in instruction.called
        for fused in self.computations.get(name, {}).values()
      )  # fmt: skip
    is_convolution = instruction.opcode == "convolution" or "cudnn$conv" in instruction.target
    if not (is_convolution or instruction.opcode == "dot" or "cublas" in instruction.target):
      return 0
    left, right = self.operands(instruction, computation)[:2]
    result = arrays(instruction.shape)[0]
    if is_convolution:
      # The gradients' routines keep the window of the convolution whose gradient they compute.
      if "BackwardInput" in instruction.target:
        left, result = result, left
      elif "BackwardFilter" in instruction.target:
        right, result = result, right
      return _convolution_flops(left, right, result, instruction.attributes)
    contracted = re.search(r'lhs_contracting_dim(?:s=\{|ensions":\[)([\d,"]*)', instruction.attributes)
    sides = [left.dimensions[int(place)] for place in contracted[1].replace('"', "").split(",") if place]
    return 2 * math.prod(result.dimensions) * math.prod(sides)


def _parse(name, line):
  shape, rest = _split_shape(line)
  opcode, _, rest = rest.partition("(")
  operands, attributes = _split_parenthesis("(" + rest)
  if opcode == "constant":
    operands, attributes = "", operands  # its value
  return Instruction(name, shape, opcode, tuple(re.findall(r"%([\w.\-]+)", operands)), attributes)


def _split_shape(line):
  shape, rest = _split_parenthesis(line) if line.startswith("(") else line.split(" ", 1)
  return shape, rest.lstrip()


def _split_parenthesis(text):
  """A text that starts with a parenthesis, cut behind its other end."""
  depth = 0
  for match in re.finditer(r"[()]", text):
    depth += 1 if match[0] == "(" else -1
    if depth == 0:
      return text[: match.end()], text[match.end() :]
  return text, ""


def _convolution_flops(left, right, result, attributes):
  inputs, kernel, outputs = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", attributes).groups()
  # A product that the compiler made a convolution of has none.
  written = re.search(r"window=\{([^}]*)\}", attributes)
  window = dict(re.findall(r"(\w+)=([\dx_\-]+)", written[1])) if written else {}
  spatial = [label for label in inputs if label.isdigit()]

  def of_window(name, default):
    return window[name].split("x") if name in window else [default] * len(spatial)

  pairs = 1  # of an output's place and a kernel's place that meet a value, neither padding nor a hole of dilation
  numbers = zip(*(of_window(*pair) for pair in (("size", "1"), ("stride", "1"), ("pad", "0_0"), ("lhs_dilate", "1"),
                                                ("rhs_dilate", "1"))), strict=True)  # fmt: skip
  for label, (size, stride, pad, holes, spread) in zip(spatial, numbers, strict=True):
    side = left.dimensions[inputs.index(label)]
    extent, holes, low = (side - 1) * int(holes) + 1, int(holes), int(pad.split("_")[0])
    places = (
      out * int(stride) + tap * int(spread) - low
      for out in range(result.dimensions[outputs.index(label)])
      for tap in range(int(size))
    )
    pairs *= sum(0 <= place < extent and place % holes == 0 for place in places)
  groups = re.search(r"batch_group_count=(\d+)", attributes)
  examples = left.dimensions[inputs.index("b")] // (int(groups[1]) if groups else 1)
  # The kernel's input features are those of one feature group.
  return 2 * pairs * examples * right.dimensions[kernel.index("i")] * right.dimensions[kernel.index("o")]


def first_kind(contents: frozenset[str], kinds: Mapping[str, tuple[str, ...]]) -> str | None:
  """The first of kinds {name: opcodes, or LIBRARIES} of which an operation's contents have a member."""

  def has(member):
    return any(member in opcode for opcode in contents) if member in LIBRARIES else member in contents

  return next((kind for kind, members in kinds.items() if any(map(has, members))), None)
