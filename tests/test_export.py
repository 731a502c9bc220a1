"""An exported restorer runs without this package, as docs/export.md says, and is the restorer."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

from prt_jax.errors import UserError
from prt_jax.export import export, main
from prt_jax.restorers import Restorer
from prt_jax.restorers.by_name import load_restorer
from prt_jax.training.checkpoints import Checkpoints, claim_workdir
from prt_jax.training.gan import init_state, make_game
from tests import tiny
from tests.conftest import ROOT

(LOADING,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)


def noisy():
  """x = twice as large y, plus a tenth of the noise."""
  return Restorer(
    "noisy",
    lambda params, y, z: jnp.repeat(jnp.repeat(params * y, 2, 1), 2, 2) + 0.1 * z,
    params=jnp.float32(0.5),
    draw_noise=lambda keys, shape, seeds: jax.vmap(
      lambda key: jax.random.normal(key, (seeds, 2 * shape[0], 2 * shape[1], 3)), out_axes=1
    )(keys),
  )


def test_it_is_the_restorer_with_its_weights_draws_and_gradients():
  program = jax_export.deserialize(export(noisy(), (4, 4, 3), 2).serialize(vjp_order=1))
  assert set(program.platforms) == {"cpu", "cuda", "tpu"}
  y = jnp.asarray(np.random.default_rng(0).uniform(0.4, 0.6, (2, 4, 4, 3)), jnp.float32)
  x = program.call(y, np.uint32(3))
  keys = jax.random.split(jax.random.key(3), 2)
  z = noisy().noise(keys, (4, 4, 3), 1)[0]
  np.testing.assert_allclose(x, jnp.clip(noisy().restore(y, z), 0, 1), atol=1e-6)
  assert not np.allclose(x, program.call(y, np.uint32(4))), "another seed is another draw"
  # d sum(x) / dy: each pixel of y is four of x, times the weight, but where x is clipped.
  gradient = jax.grad(lambda y: jnp.sum(program.call(y, np.uint32(3))))(y)
  free = ((x > 0) & (x < 1)).reshape(2, 4, 2, 4, 2, 3).sum((2, 4))
  np.testing.assert_allclose(gradient, 0.5 * free, atol=1e-6)


def test_the_pages_lines_load_it_where_this_package_is_not(tmp_path, capsys):
  main(["--restorer=bicubic", "--scale=4", "--size=8", "--batch=2", f"--output={tmp_path / 'restorer.jaxexport'}"])
  assert "(y float32[2,8,8,3], seed uint32[]) -> x float32[2,32,32,3]" in capsys.readouterr().out
  assert len(LOADING.strip().splitlines()) <= 10
  (tmp_path / "prt_jax.py").write_text("raise ImportError('not here')\n")
  environment = os.environ | {"PYTHONPATH": str(tmp_path)}
  done = subprocess.run([sys.executable, "-c", LOADING], cwd=tmp_path, env=environment, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  shape, least, most = re.fullmatch(r"(\(.*\)) (\S+) (\S+)\n", done.stdout).groups()
  assert shape == "(2, 32, 32, 3)" and float(least) == pytest.approx(0.5) == pytest.approx(float(most))


def test_a_trained_run_is_exported_from_its_workdir(tmp_path):
  """Its newest checkpoint, with its draws of Z: what the run's restorer gives."""
  workdir = tmp_path / "run"
  config = tiny.get_config()
  claim_workdir(workdir, config)
  checkpoints = Checkpoints(workdir, 1)
  checkpoints.save(init_state(make_game(config)).replace(step=np.int32(8)))
  checkpoints.close()
  main([f"--restorer={workdir}", f"--output={tmp_path / 'run.jaxexport'}"])
  program = jax_export.deserialize((tmp_path / "run.jaxexport").read_bytes())
  restorer = load_restorer(str(workdir))
  shape = restorer.degradation.measurement_shape
  y = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (1, *shape)), jnp.float32)
  z = restorer.noise(jax.random.split(jax.random.key(5), 1), shape, 1)
  x = restorer.restore(y, jax.tree.map(lambda leaf: leaf[0], z))
  np.testing.assert_allclose(program.call(y, np.uint32(5)), jnp.clip(x, 0, 1), atol=1e-5)


def test_mistakes_are_one_line(tmp_path):
  with pytest.raises(UserError, match="--platforms: abacus is unknown"):
    main(["--restorer=bicubic", "--platforms=abacus", f"--output={tmp_path / 'x'}"])
  with pytest.raises(UserError, match="computed by PyTorch"):
    export(Restorer("module", lambda params, y, z: y, traceable=False), (4, 4, 3))
  with pytest.raises(UserError, match="cannot be written"):
    main(["--restorer=bicubic", f"--output={tmp_path / 'no' / 'x'}"])
