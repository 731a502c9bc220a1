"""Restoring a folder of degraded images: what is written agrees with the measurement, and draws differ."""

import json

import numpy as np
import pytest
from PIL import Image

from prt_jax import explore, restore
from prt_jax.audit import command_line
from prt_jax.commands import named_restorer
from prt_jax.errors import UserError
from prt_jax.restorers import Restorer
from tests.restorers.test_by_name import trained


def folder_of(tmp_path, **images):
  folder = tmp_path / "degraded"
  folder.mkdir()
  for name, pixels in images.items():
    Image.fromarray(pixels).save(folder / f"{name}.png")
  return folder


def random_pixels(seed, height, width):
  return np.random.default_rng(seed).integers(90, 160, (height, width, 3), dtype=np.uint8)


def read(path):
  return np.asarray(Image.open(path), np.float32)


def test_small_images_become_several_consistent_ones(tiny_config, tmp_path, capsys):
  trained(tmp_path / "run", tiny_config)  # x16: 2x2 becomes 32x32
  small = {"a": random_pixels(0, 2, 2), "b": random_pixels(1, 2, 2)}
  folder, output = folder_of(tmp_path, **small), tmp_path / "out"
  restore.main([f"--restorer={tmp_path / 'run'}", f"--input={folder}", f"--output={output}", "--num_outputs=3"])
  records = json.loads((output / "restore.json").read_text())["images"]
  assert [record["name"] for record in records] == ["a", "b"]
  for record in records:
    draws = [read(output / f"{record['name']}-{number}.png") for number in (1, 2, 3)]
    for draw, consistency in zip(draws, record["consistency_db"], strict=True):
      means = draw.reshape(2, 16, 2, 16, 3).mean((1, 3))
      y = small[record["name"]].astype(np.float32)
      assert np.abs(means - y).max() < 2  # of 255: rounding, and clipping of an untrained net
      assert float(consistency) == pytest.approx(-10 * np.log10(np.mean((means - y) ** 2 / 255**2)), abs=0.1)
    assert np.abs(draws[0] - draws[1]).max() >= 1
    assert record["per_pixel_std"] == pytest.approx(np.std(draws, 0, ddof=1).mean() / 255, abs=2e-3)
  sheet = Image.open(output / "a-sheet.png")
  assert sheet.width > 5 * 100 > sheet.height  # the measurement, three restorations and their std, side by side
  np.testing.assert_array_equal(read(output / "a-sheet.png")[20, 2], small["a"][0, 0])
  assert "a-1.png to -3.png, consistency" in capsys.readouterr().out


def test_the_seed_decides_the_draws(tiny_config, tmp_path):
  trained(tmp_path / "run", tiny_config)
  folder = folder_of(tmp_path, a=random_pixels(0, 2, 2))
  draws = []
  for seed, name in ((0, "one"), (0, "again"), (1, "other")):
    arguments = [f"--restorer={tmp_path / 'run'}", f"--input={folder}", f"--output={tmp_path / name}"]
    restore.main([*arguments, "--num_outputs=1", f"--seed={seed}"])
    draws.append(read(tmp_path / name / "a-1.png"))
  assert (draws[0] == draws[1]).all()
  assert (draws[0] != draws[2]).any()


def test_inpainting_paints_the_upper_three_quarters_of_a_whole_picture(tiny_config, tmp_path):
  tiny_config.degradation.kind = "inpainting"
  tiny_config.model.stochastic, tiny_config.attack.num_seeds = False, 1
  trained(tmp_path / "run", tiny_config)
  whole = random_pixels(0, 32, 32)
  folder, output = folder_of(tmp_path, quarter=whole[24:], whole=whole), tmp_path / "out"
  restore.main([f"--restorer={tmp_path / 'run'}", f"--input={folder}", f"--output={output}"])
  restored = read(output / "whole-1.png")
  np.testing.assert_array_equal(restored[24:], whole[24:])
  assert np.abs(restored[:24] - whole[:24]).max() > 1
  np.testing.assert_array_equal(restored, read(output / "quarter-1.png"))
  assert not (output / "whole-2.png").exists()  # deterministic


def test_originals_are_measured_first(tiny_config, tmp_path):
  trained(tmp_path / "run", tiny_config)
  x = random_pixels(0, 32, 32)
  folder, output = folder_of(tmp_path, a=x), tmp_path / "out"
  flags = [f"--restorer={tmp_path / 'run'}", f"--input={folder}", f"--output={output}", "--num_outputs=1"]
  restore.main([*flags, "--degradation=own"])
  means = [image.reshape(2, 16, 2, 16, 3).mean((1, 3)) for image in (read(output / "a-1.png"), x.astype(np.float32))]
  np.testing.assert_allclose(*means, atol=2)
  with pytest.raises(UserError, match=r"a.png is 32x32: this run restores measurements of 2x2; originals are measured"):
    restore.main(flags)


@pytest.mark.parametrize("command", [restore, command_line])
@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--scale=16", "--scale: a training run has a size and a scale of its own"),
    ("--crop=16", "--crop: a training run"),
    ("--mod_crop", "--mod_crop: a training run"),
    ("--degradation=bicubic", "--degradation=bicubic: a training run's originals are measured as it was trained"),
  ],
)
def test_flags_that_mean_nothing_with_a_workdir_are_refused(command, flag, message, tmp_path, monkeypatch):
  run = Restorer("run", lambda params, y, z: y, image_size=32)
  monkeypatch.setattr(named_restorer, "load_restorer", lambda name, **_: run)
  folder = folder_of(tmp_path, a=random_pixels(0, 32, 32))
  with pytest.raises(UserError, match=message):
    command.main(["--restorer=run", f"--input={folder}", f"--output={tmp_path / 'out'}", flag])


def test_audits_with_another_noise_share_nothing(tiny_config, tmp_path):
  """The second audit into the same folder measures its own noisy measurements, not what the first one kept."""
  trained(tmp_path / "run", tiny_config)
  folder = folder_of(tmp_path, a=random_pixels(0, 32, 32))
  flags = ["--alphas=8", "--num_steps=1", "--num_strong_steps=0", "--num_seeds=2", "--num_jacobian_steps=0"]

  def point(noise_std, output):
    command_line.main([
      f"--restorer={tmp_path / 'run'}", f"--input={folder}", f"--output={tmp_path / output}",
      f"--noise_std={noise_std}", *flags,
    ])  # fmt: skip
    return json.loads((tmp_path / output / "report.json").read_text())["robustness"][0]

  first = point(0.0, "once")
  assert point(0.3, "once") == point(0.3, "alone") != first


def test_a_published_network_takes_any_size(tmp_path):
  folder = folder_of(tmp_path, a=random_pixels(0, 16, 20))
  restore.main(["--restorer=bicubic", f"--input={folder}", f"--output={tmp_path / 'out'}", "--num_outputs=1"])
  assert read(tmp_path / "out" / "a-1.png").shape == (64, 80, 3)


@pytest.mark.parametrize(
  "output, flags, message",
  [
    ("degraded", [], "is the folder of the input"),
    ("out", ["--num_outputs=0"], "--num_outputs=0 must be at least 1"),
    ("out", [f"--seed={2**32}"], r"--seed=4294967296 is not in \[0, 4294967295\]"),
    ("out", ["--seed=-1"], "--seed=-1 is not in"),
    ("out", ["--noise_std=nan"], "--noise_std=nan is not finite"),
  ],
)
def test_mistakes_are_one_line(output, flags, message, tmp_path):
  folder = folder_of(tmp_path, a=random_pixels(0, 16, 16))
  with pytest.raises(UserError, match=message):
    restore.main(["--restorer=bicubic", f"--input={folder}", f"--output={tmp_path / output}", *flags])


@pytest.mark.parametrize("command", [restore, explore, command_line])
def test_two_images_of_one_name_are_refused_before_anything_is_written(command, tmp_path):
  folder = folder_of(tmp_path, **{"a": random_pixels(0, 16, 16), "a.k": random_pixels(0, 16, 16)})
  Image.fromarray(random_pixels(0, 16, 16)).save(folder / "a.bmp")
  with pytest.raises(UserError, match="would share their results' name"):
    command.main(["--restorer=bicubic", f"--input={folder}", f"--output={tmp_path / 'out'}"])
  assert not (tmp_path / "out").exists()


def test_no_command_replaces_its_input(tmp_path):
  folder = folder_of(tmp_path, a=random_pixels(0, 16, 16))
  before = (folder / "a.png").read_bytes()
  for command in (explore, command_line):
    with pytest.raises(UserError, match="is the folder of the input"):
      command.main(["--restorer=bicubic", "--degradation=none", f"--input={folder}", f"--output={folder}/."])
  assert [path.name for path in folder.iterdir()] == ["a.png"] and (folder / "a.png").read_bytes() == before


def test_a_transparent_image_is_restored_on_white_and_keeps_its_alpha(tmp_path):
  """Hidden colours come out nowhere; on white the written picture is the restoration of what was seen."""
  rgba = np.dstack([random_pixels(0, 16, 16), np.zeros((16, 16), np.uint8)])
  rgba[:, 4:8, 3], rgba[:, 8:, 3] = 128, 255
  seen = np.round(rgba[..., :3] * (rgba[..., 3:] / 255) + 255 - rgba[..., 3:]).astype(np.uint8)
  folder, output = folder_of(tmp_path, hidden=rgba, seen=seen), tmp_path / "out"
  restore.main(["--restorer=bicubic", f"--input={folder}", f"--output={output}", "--scale=2"])
  written = Image.open(output / "hidden-1.png")
  assert (written.mode, written.size) == ("RGBA", (32, 32))
  alpha = np.asarray(Image.fromarray(rgba[..., 3]).resize((32, 32), Image.Resampling.BICUBIC))
  np.testing.assert_array_equal(np.asarray(written)[..., 3], alpha)
  np.testing.assert_array_equal(np.asarray(written)[:, :4, :3], 255)
  on_white = Image.alpha_composite(Image.new("RGBA", (32, 32), "white"), written).convert("RGB")
  plain = read(output / "seen-1.png")
  opaque = alpha == 255
  np.testing.assert_allclose(np.asarray(on_white, np.float32)[opaque], plain[opaque], atol=1)
  between = (alpha > 60) & ~opaque
  assert np.abs(np.asarray(on_white, np.float32)[between] - plain[between]).mean() < 2
  assert Image.open(output / "seen-1.png").mode == "RGB"


def test_a_restorer_with_noise_of_its_own_is_refused(tmp_path, monkeypatch):
  (tmp_path / "draws_noise.py").write_text(
    "import numpy as np\ndef restore(y):\n  return y + np.random.normal(size=y.shape).astype('float32')\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  folder = folder_of(tmp_path, a=random_pixels(0, 16, 16))
  with pytest.raises(UserError, match="different outputs for one input"):
    restore.main(["--restorer=draws_noise:restore", f"--input={folder}", f"--output={tmp_path / 'out'}"])


def test_tiles_write_what_the_whole_picture_writes(tmp_path, capsys):
  folder = folder_of(tmp_path, a=random_pixels(0, 70, 90))
  flags = ["--restorer=bicubic", f"--input={folder}", "--scale=2"]
  restore.main([*flags, f"--output={tmp_path / 'whole'}"])
  restore.main([*flags, f"--output={tmp_path / 'tiles'}", "--tile=16"])
  np.testing.assert_array_equal(read(tmp_path / "tiles" / "a-1.png"), read(tmp_path / "whole" / "a-1.png"))
  assert "bicubic sees within 2 pixels: tiles overlap by as much" in capsys.readouterr().out


def test_originals_of_any_size_are_written_in_their_own(tmp_path):
  folder = folder_of(tmp_path, a=random_pixels(0, 66, 71))
  restore.main(
    ["--restorer=bicubic", f"--input={folder}", f"--output={tmp_path / 'out'}", "--scale=4", "--degradation=bicubic"]
  )
  assert read(tmp_path / "out" / "a-1.png").shape == (66, 71, 3)


def test_the_same_command_goes_on_where_it_was_stopped(tmp_path, capsys):
  output = tmp_path / "out"
  folder = folder_of(tmp_path, **{name: random_pixels(number, 16, 16) for number, name in enumerate("abc")})
  flags = ["--restorer=bicubic", f"--input={folder}", f"--output={output}", "--scale=2"]
  restore.main(flags)
  before = {name: (output / f"{name}-1.png").stat().st_mtime_ns for name in "abc"}
  record = json.loads((output / "restore.json").read_text())
  (output / "b-1.png").unlink()
  Image.fromarray(random_pixels(9, 16, 16)).save(folder / "c.png")  # another picture of the same name
  capsys.readouterr()
  restore.main(flags)
  after = {name: (output / f"{name}-1.png").stat().st_mtime_ns for name in "abc"}
  assert [name for name in "abc" if after[name] != before[name]] == ["b", "c"]
  assert capsys.readouterr().out.count("is there already") == 1
  again = json.loads((output / "restore.json").read_text())
  assert again["images"][:2] == record["images"][:2] and again["images"][2] != record["images"][2]
  restore.main([*flags, "--scale=3"])
  assert read(output / "a-1.png").shape == (48, 48, 3)  # another restoration: nothing of the first is taken


def test_sixteen_bits_and_grey_come_out_as_they_went_in(tmp_path):
  folder = folder_of(tmp_path, grey=random_pixels(0, 16, 16)[..., 0])
  wide = np.random.default_rng(0).integers(0, 65536, (16, 16)).astype(np.uint16)
  Image.fromarray(wide).save(folder / "wide.png")
  restore.main(["--restorer=bicubic", f"--input={folder}", f"--output={tmp_path / 'out'}", "--scale=2"])
  assert Image.open(tmp_path / "out" / "grey-1.png").mode == "L"
  written = np.asarray(Image.open(tmp_path / "out" / "wide-1.png"))
  assert written.dtype == np.uint16 and (written % 257 != 0).any()  # more than 8 bits


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--tile_overlap=3"], "--tile_overlap belongs to --tile"),
    (["--tile=-1"], "--tile=-1 must be at least 1"),
    (["--device=gpu"], "--device=gpu: JAX has started on cpu already"),
    (["--degradation=blur:2"], "measures at x1, and bicubic magnifies x4: choose a degradation of x4"),
    (["--degradation=bicubic:4+noise:0.1", "--noise_std=0.1"], r"end it with \+noise:0.1"),
    (["--degradation=blurr:2+bicubic:4"], "'blurr:2' of .* is no degradation"),
  ],
)
def test_flags_that_do_not_fit_are_one_line(flags, message, tmp_path):
  folder = folder_of(tmp_path, a=random_pixels(0, 64, 64))
  with pytest.raises(UserError, match=message):
    restore.main(["--restorer=bicubic", f"--input={folder}", f"--output={tmp_path / 'out'}", *flags])


def test_a_restorer_that_does_not_magnify_needs_a_degradation(tmp_path, monkeypatch):
  run = Restorer("denoiser", lambda params, y, z: y, scale=1)
  monkeypatch.setattr(named_restorer, "load_restorer", lambda name, **_: run)
  folder, output = folder_of(tmp_path, a=random_pixels(0, 32, 32)), tmp_path / "out"
  with pytest.raises(UserError, match=r"denoiser does not magnify, .* say how originals are measured"):
    command_line.main(["--restorer=run", f"--input={folder}", f"--output={output}"])
  restore.main(["--restorer=run", f"--input={folder}", f"--output={output}"])
  (record,) = json.loads((output / "restore.json").read_text())["images"]
  assert record["consistency_db"] is None  # nothing says what the picture was degraded by
  noisy = ["--degradation=noise:0.1+round:8", "--seed=3"]
  restore.main(["--restorer=run", f"--input={folder}", f"--output={tmp_path / 'noisy'}", *noisy])
  noise = (read(tmp_path / "noisy" / "a-1.png") - random_pixels(0, 32, 32)) / 255
  assert noise.std() == pytest.approx(0.1, rel=0.05)


def test_help_lists_what_is_known(capsys):
  with pytest.raises(SystemExit) as stopped:
    restore.main(["--restorer=help"])
  assert stopped.value.code == 0
  printed = capsys.readouterr().out
  for words in ("imdn ", "bicubic, x2 x3 x4 x8 x16: needs nothing", "--checkpoint=FILE --scale=N", "spandrel "):
    assert words in printed
