"""Which part of prt_jax may import which, and how long a file may be."""

import ast

from tests.conftest import ROOT

# From the top: a module imports from its own layer and from those below. The longest name that fits a module counts.
LAYERS = (
  {"main", "train", "watch", "evaluate", "explore", "restore", "certify", "export", "compare", "view", "viewer"}
  | {"commands", "plan", "audit.__main__", "audit.command_line"},
  {"reporting"},
  {"evaluation", "audit"},
  {"restorers.from_run", "restorers.by_name"},
  {"training"},
  {"restorers", "data"},
  {"models", "attacks", "metrics", "losses", "features", "lipschitz", "quality_bounds", "smoothing"}
  | {"decision_attack"},
  {"degradations"},
  {"devices", "io", "randomness", "errors", "config", "config_check", "importing", "pixels", "precision", "programs"}
  | {"targets"},
)
HEIGHTS = {name: len(LAYERS) - number for number, layer in enumerate(LAYERS) for name in layer}
MODULES = {
  ".".join(path.relative_to(ROOT / "prt_jax").with_suffix("").parts).removesuffix(".__init__"): path
  for path in sorted((ROOT / "prt_jax").rglob("*.py"))
}
del MODULES["__init__"]  # it imports nothing before a name of it is used


def height(module: str) -> int:
  """Of a module's layer, the lowest being 1; KeyError for a module that no layer names."""
  while module not in HEIGHTS and "." in module:
    module = module.rpartition(".")[0]
  return HEIGHTS[module]


def imports(source: str) -> set[str]:
  """The modules of prt_jax that a source imports, anywhere in it."""
  found = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names = {f"{node.module}.{alias.name}" for alias in node.names}
      found |= {name if name.removeprefix("prt_jax.") in MODULES else node.module for name in names}
  return {name.removeprefix("prt_jax.") for name in found if name.startswith("prt_jax.")}


def test_a_module_imports_from_its_layer_and_below():
  above = {
    module: sorted(other for other in imports(path.read_text()) if height(other) > height(module))
    for module, path in MODULES.items()
  }
  assert not {module: names for module, names in above.items() if names}


def test_the_rule_sees_every_form_of_import():
  source = "def f():\n  import prt_jax.audit\n  from prt_jax import main\n  from prt_jax.training.loop import train\n"
  assert imports(source) == {"audit", "main", "training.loop"}
  assert height("audit") == height("audit.summary") < height("audit.command_line") == height("main")


def test_no_file_is_longer_than_300_lines():
  assert not {module for module, path in MODULES.items() if len(path.read_text().splitlines()) > 300}


def test_every_public_function_says_its_types():
  for module, path in MODULES.items():
    untyped = [function.name for function in public_functions(ast.parse(path.read_text())) if not is_typed(function)]
    assert not untyped, module


def public_functions(tree):
  """The functions of a module and of its classes that others may call, and what makes an object."""
  for node in tree.body:
    if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
      yield from public_functions(node)
    elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
      yield node


def is_typed(function):
  """Whether all arguments (but self) and the result have a type."""
  every = function.args
  named = [*every.posonlyargs, *every.args, *every.kwonlyargs, *filter(None, (every.vararg, every.kwarg))]
  arguments_are = all(argument.annotation or argument.arg in ("self", "cls") for argument in named)
  return arguments_are and (function.returns is not None or function.name == "__init__")


def test_experiments_import_no_tests():
  for path in (ROOT / "experiments").rglob("*.py"):
    assert "tests" not in {name.partition(".")[0] for name in modules_of(path)}, path


def modules_of(path):
  """The names of the modules that a file imports."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield node.module
