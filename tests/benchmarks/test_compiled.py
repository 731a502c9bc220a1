"""What is read from a compiled program's text, counted by hand; no compiler is needed."""

import importlib.metadata
import json

import jax
import pytest

from benchmarks import compiled, compilers, hlo, results, settings
from prt_jax import targets
from prt_jax.errors import UserError


def cycles(number):
  return f'backend_config={{"window_config":{{"estimated_cycles":"{number}","kernel_window_bounds":[]}}}}'


# A loop of three turns around a convolution fused with a maximum and a copy in vector memory, then a sum over chips, a
# copy started ahead, a fusion that only moves, and one that multiplies too.
TEXT = f"""HloModule step, is_scheduled=true, entry_computation_layout={{(f32[2]{{0}})->f32[2]{{0}}}}

%fused_relu (p0: f32[2,4,4,3], p1: f32[3,3,3,8]) -> f32[2,4,4,8] {{
  %p0 = f32[2,4,4,3]{{0,3,2,1:T(8,128)}} parameter(0)
  %p1 = f32[3,3,3,8]{{3,2,1,0:T(8,128)}} parameter(1)
  %conv.1 = f32[2,4,4,8]{{0,3,2,1:T(8,128)}} convolution(%p0, %p1), window={{size=3x3 pad=1_1x1_1}}, dim_labels=b01f_01io->b01f
  ROOT %maximum.1 = f32[2,4,4,8]{{0,3,2,1:T(8,128)}} maximum(%conv.1, %conv.1)
}}

%body (t: (s32[], f32[2,4,4,3], f32[3,3,3,8])) -> (s32[], f32[2,4,4,3], f32[3,3,3,8]) {{
  %t = (s32[]{{:T(128)}}, f32[2,4,4,3]{{0,3,2,1:T(8,128)}}, /*index=2*/f32[3,3,3,8]{{3,2,1,0:T(8,128)}}) parameter(0)
  %gte.1 = f32[2,4,4,3]{{0,3,2,1:T(8,128)}} get-tuple-element(%t), index=1
  %gte.2 = f32[3,3,3,8]{{3,2,1,0:T(8,128)}} get-tuple-element(%t), index=2
  %fusion.1 = f32[2,4,4,8]{{0,3,2,1:T(8,128)}} fusion(%gte.1, %gte.2), kind=kOutput, calls=%fused_relu, metadata={{op_name="jit(step)/UNet/conv"}}, {cycles(1000)}
  %copy.1 = f32[2,4,4,3]{{3,2,1,0:T(8,128)S(1)}} copy(%gte.1), metadata={{op_name="jit(step)/UNet/reshape"}}, {cycles(100)}
  ROOT %tuple.1 = (s32[]{{:T(128)}}, f32[2,4,4,3]{{0,3,2,1:T(8,128)}}, f32[3,3,3,8]{{3,2,1,0:T(8,128)}}) tuple(%gte.1, %gte.1, %gte.2)
}}

%condition (t: (s32[], f32[2,4,4,3], f32[3,3,3,8])) -> pred[] {{
  %t.1 = (s32[]{{:T(128)}}, f32[2,4,4,3]{{0,3,2,1:T(8,128)}}, f32[3,3,3,8]{{3,2,1,0:T(8,128)}}) parameter(0)
  ROOT %lt = pred[]{{:T(512)}} compare(%t.1, %t.1), direction=LT, {cycles(1)}
}}

%fused_move (q: bf16[8,256]) -> bf16[256,8] {{
  %q = bf16[8,256]{{1,0:T(8,128)(2,1)}} parameter(0)
  %c = bf16[]{{:T(256)}} constant(0)
  ROOT %transpose.1 = bf16[256,8]{{0,1:T(8,128)(2,1)}} transpose(%q), dimensions={{1,0}}
}}

%fused_square (q: bf16[256,8]) -> bf16[256,8] {{
  %q.1 = bf16[256,8]{{0,1:T(8,128)(2,1)}} parameter(0)
  %reverse.1 = bf16[256,8]{{0,1:T(8,128)(2,1)}} reverse(%q.1), dimensions={{1}}
  ROOT %multiply.1 = bf16[256,8]{{0,1:T(8,128)(2,1)}} multiply(%q.1, %reverse.1)
}}

%add (a: f32[], b: f32[]) -> f32[] {{
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}}

ENTRY %main (x: f32[2,4,4,3], k: f32[3,3,3,8], g: f32[100]) -> bf16[256,8] {{
  %x = f32[2,4,4,3]{{0,3,2,1:T(8,128)}} parameter(0)
  %k = f32[3,3,3,8]{{3,2,1,0:T(8,128)}} parameter(1)
  %g = f32[100]{{0:T(128)}} parameter(2)
  %w = bf16[8,256]{{1,0:T(8,128)(2,1)}} parameter(3)
  %i = s32[]{{:T(128)}} constant(0)
  %tuple.2 = (s32[]{{:T(128)}}, f32[2,4,4,3]{{0,3,2,1:T(8,128)}}, f32[3,3,3,8]{{3,2,1,0:T(8,128)}}) tuple(%i, %x, %k)
  %while.1 = (s32[]{{:T(128)}}, f32[2,4,4,3]{{0,3,2,1:T(8,128)}}, f32[3,3,3,8]{{3,2,1,0:T(8,128)}}) while(%tuple.2), condition=%condition, body=%body, backend_config={{"known_trip_count":{{"n":"3"}},"estimated_cycles":"9999"}}
  %all-reduce.1 = f32[100]{{0:T(128)}} all-reduce(%g), channel_id=1, replica_groups={{{{0,1,2,3}}}}, to_apply=%add
  %copy-start.1 = (f32[100]{{0:T(128)S(1)}}, f32[100]{{0:T(128)}}, u32[]{{:S(2)}}) copy-start(%all-reduce.1)
  %copy-done.1 = f32[100]{{0:T(128)S(1)}} copy-done(%copy-start.1)
  %reduce.1 = f32[]{{:T(128)}} reduce(%copy-done.1, %copy-done.1), dimensions={{0}}, to_apply=%add, {cycles(20)}
  %fusion.2 = bf16[256,8]{{0,1:T(8,128)(2,1)}} fusion(%w), kind=kLoop, calls=%fused_move, metadata={{op_name="jit(step)/UNet/reshape"}}, {cycles(40)}
  %fusion.3 = bf16[256,8]{{0,1:T(8,128)(2,1)}} fusion(%fusion.2), kind=kLoop, calls=%fused_square, {cycles(30)}
  ROOT %custom.1 = bf16[256,8]{{0,1:T(8,128)(2,1)}} custom-call(%fusion.3), custom_call_target="my_kernel", {cycles(7)}
}}
"""  # noqa: E501

# Bytes of whole tiles: X of [2,4,4,3] with the batch in the lanes fills [4,4] planes of 8 x 128 (3 -> 8 rows, 2 -> 128
# lanes); with the channels there, [2,4] planes of 8 x 128 (4 -> 8, 3 -> 128); K [3,3] planes of 8 x 128.
X, X_COPIED, K, Y = 4 * 16 * 1024, 4 * 8 * 1024, 4 * 9 * 1024, 4 * 16 * 1024
W, G, SCALAR = 2 * 8 * 256, 4 * 128, 4


def test_cycles_are_counted_as_often_as_loops_go_round():
  numbers = compiled.account(TEXT, "tpu")
  assert numbers["by_kind"] == {
    "convolution": 3 * 1000,
    "collective": 0,
    "reduction": 20,
    "copy and layout": 3 * 100 + 40,
    "elementwise": 30,
    "other": 7,
  }
  assert numbers["estimated_cycles"] == 3 * 1100 + 20 + 40 + 30 + 7
  # Two a turn, without the condition, and all-reduce, copy-start, reduce, two fusions and the custom call.
  assert numbers["kernels"] == 3 * 2 + 6
  assert numbers["unknown_loops"] == 0
  unsaid = TEXT.replace("known_trip_count", "other")
  assert compiled.account(unsaid, "tpu")["unknown_loops"] == 1
  # A counter below a constant, as fori_loop's: its condition says how often.
  counted = unsaid.replace("compare(%t.1, %t.1)", "compare(%t.1, %limit)").replace(
    "  ROOT %lt", "  %limit = s32[]{:T(128)} constant(3)\n  ROOT %lt"
  )
  assert compiled.account(counted, "tpu") == numbers


def test_flops_leave_out_what_lies_in_the_padding():
  # Of a side of 4 with a kernel of 3: 2 + 3 + 3 + 2 places meet a value.
  assert compiled.account(TEXT, "tpu")["flops"] == 3 * 2 * (10 * 10) * 2 * 3 * 8


def test_bytes_are_of_whole_tiles_and_of_main_memory_where_that_is_asked():
  loop = (X + K + Y) + (X + X_COPIED)
  # all-reduce in and out; copy-start in, out and a flag of 4 bytes; reduce; three operations on [256,8].
  entry = 2 * G + (2 * G + 4) + (2 * G + SCALAR) + 3 * 2 * W
  numbers = compiled.account(TEXT, "tpu")
  assert numbers["bytes"] == 3 * loop + entry
  assert numbers["memory_bytes"] == 3 * (loop - X_COPIED) + entry - (G + 4) - 2 * G
  on_gpu = compiled.account(TEXT, "gpu")
  assert on_gpu["estimated_cycles"] is None
  assert on_gpu["memory_bytes"] == on_gpu["bytes"] == sum(on_gpu["by_kind"].values())
  assert on_gpu["by_kind"]["convolution"] == 3 * (X + K + Y)


def test_collectives_are_counted_with_their_operands():
  assert compiled.account(TEXT, "tpu")["collectives"] == {"all-reduce": [1, G]}


def test_the_dearest_say_where_they_come_from():
  first, second, *_ = compiled.account(TEXT, "tpu")["dearest"]
  assert (first["cost"], first["count"], first["source"]) == (3000, 3, "jit(step)/UNet/conv")
  assert (second["cost"], second["opcode"], second["kind"]) == (300, "copy", "copy and layout")


@pytest.mark.parametrize(
  ("line", "flops"),
  [
    # A stride of 2: 4 outputs meet 2 + 3 + 3 + 3 places of a side of 8.
    ("f32[1,4,4,5]{3,2,1,0} convolution(%a, %b), window={size=3x3 stride=2x2 pad=1_0x1_0}, dim_labels=b01f_01io->b01f",
     2 * 11 * 11 * 3 * 5),
    # Of two neighbours in the dilated side, one is a hole: each of 16 outputs meets one value.
    ("f32[1,16,16,5]{3,2,1,0} convolution(%a, %c), window={size=2x2 pad=1_1x1_1 lhs_dilate=2x2}, "
     "dim_labels=b01f_01io->b01f", 2 * 16 * 16 * 3 * 5),
    # A gradient's routine keeps the window of its convolution: the first's made [1,4,4,5] of [1,8,8,3].
    ('(f32[1,8,8,3]{3,2,1,0}, u8[0]{0}) custom-call(%x, %b), window={size=3x3 stride=2x2 pad=1_0x1_0}, '
     'dim_labels=b01f_01io->b01f, custom_call_target="__cudnn$convBackwardInput"', 2 * 11 * 11 * 3 * 5),
    ('(f32[3,3,3,5]{3,2,1,0}, u8[0]{0}) custom-call(%a, %y), window={size=3x3 pad=1_1x1_1}, '
     'dim_labels=b01f_01io->b01f, custom_call_target="__cudnn$convBackwardFilter"', 2 * 22 * 22 * 3 * 5),
    # A TPU's compiler makes convolutions without a window of products.
    ("f32[64,5]{1,0} convolution(%m, %n), dim_labels=bf_io->bf", 2 * 64 * 5 * 7),
    ("f32[64,5]{1,0} dot(%m, %n), lhs_contracting_dims={1}, rhs_contracting_dims={0}", 2 * 64 * 5 * 7),
    ('f32[64,5]{1,0} custom-call(%m, %n), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":'
     '{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}',
     2 * 64 * 5 * 7),
  ],
)  # fmt: skip
def test_flops_of_other_convolutions_and_products(line, flops):
  text = f"""ENTRY %main (a: f32[1]) -> f32[1] {{
  %a = f32[1,8,8,3]{{3,2,1,0}} parameter(0)
  %b = f32[3,3,3,5]{{3,2,1,0}} parameter(1)
  %c = f32[2,2,3,5]{{3,2,1,0}} parameter(2)
  %y = f32[1,8,8,5]{{3,2,1,0}} parameter(3)
  %x = f32[1,4,4,5]{{3,2,1,0}} parameter(6)
  %m = f32[64,7]{{1,0}} parameter(4)
  %n = f32[7,5]{{1,0}} parameter(5)
  ROOT %r = {line}
}}
"""
  assert compiled.account(text, "gpu")["flops"] == flops


def test_estimates_are_the_chips():
  numbers = {"flops": 197e9, "memory_bytes": 1.638e9, "estimated_cycles": 6_000_000}
  numbers["collectives"] = {"all-reduce": [2, 1e6]}
  found = compiled.estimate(numbers, targets.find("tpu-v5e"), "bfloat16", 4)
  assert found["estimated_seconds"] == pytest.approx(4e-3)
  assert found["bound_seconds"] == pytest.approx(2e-3)  # its memory's: 1.638 GB at 819 GB/s; its FLOPs take 1 ms
  assert found["roofline_share"] == pytest.approx(0.5)
  # Three quarters of a megabyte out and in, twice, at 100 GB/s each way.
  assert found["collective_seconds"] == pytest.approx(2 * 0.75e6 / 100e9)
  on_gpu = compiled.estimate(numbers | {"estimated_cycles": None}, targets.find("h100"), "float32")
  assert on_gpu["estimated_seconds"] == on_gpu["bound_seconds"] == pytest.approx(1.638e9 / 3352e9)
  assert on_gpu["collective_seconds"] == 0


def make_row(**changes):
  row = {"target": "tpu-v5e", "step": "plain", "batch": 64, "seeds": 2, "dtype": "float32", "chips": 4, "hosts": 1}
  row |= compiled.account(TEXT, "tpu")
  row |= compiled.estimate(row, targets.find("tpu-v5e"), "float32", 4)
  row |= {f"{name}_bytes": 1000 for name in ("argument", "output", "temp", "alias", "code")}
  return row | {"compile_seconds": 1.0, "effort": "full", "config": "configs/sr16.py"} | changes


def test_tables_say_what_an_estimate_is():
  text = compiled.render([make_row()])
  assert "1 x all-reduce of 0.000512 MB in all" in text
  assert "UNet/conv" in text
  assert "a bound" not in text
  assert "a bound" in compiled.render([make_row(estimated_cycles=None)])
  assert "one program for the 2 hosts" in compiled.render([make_row(hosts=2)])
  assert "UNet/conv" not in compiled.render([make_row()], dearest=False)


def test_results_show_a_list_of_rows_with_the_commands_that_made_them(tmp_path):
  (measurement,) = (one for one in results.MEASUREMENTS if one.stem == "compiled_tpu_v5e")
  origin = {"date": "2026-01-02", "versions": {"jax": "0.10.2"}}
  rows = [make_row(command="python -m benchmarks.compiled A", **origin)]
  rows += [make_row(command="python -m benchmarks.compiled B", step="attack", **origin)]
  path = tmp_path / "compiled_tpu_v5e.json"
  path.write_text(json.dumps(rows))
  text = results.section(measurement, tmp_path)
  assert "benchmarks.compiled A\n" in text and "benchmarks.compiled B\n" in text
  assert text.count("2026-01-02: JAX 0.10.2, configs/sr16.py.") == 1
  assert "attack" in text and "not yet run" not in text
  del rows[0]["temp_bytes"]
  path.write_text(json.dumps(rows))
  with pytest.raises(UserError, match=r"compiled_tpu_v5e\.json lacks 'temp_bytes'"):
    results.section(measurement, tmp_path)


def test_rows_are_added_and_replaced(monkeypatch, tmp_path):
  path = tmp_path / "rows.json"
  monkeypatch.setattr(compilers, "prepare", lambda kind: None)
  count = iter(range(100))

  def measure(target, step, config, chips, effort, repeats):
    return make_row(
      target=target.name, step=step, batch=config.train.batch_size, chips=chips, effort=effort, kernels=next(count)
    )

  monkeypatch.setattr(compiled, "measure", measure)
  common = ["--config=configs/sr16.py", "--target=tpu-v5e", f"--json={path}"]
  compiled.main([*common, "--steps=plain,attack"])
  compiled.main([*common, "--step=plain"])
  compiled.main([*common, "--step=plain", "--batch=128"])
  compiled.main([*common, "--step=plain", "--chips=4"])
  rows = json.loads(path.read_text())
  assert [(row["step"], row["batch"], row["chips"], row["kernels"]) for row in rows] == [
    ("attack", 64, 1, 1),
    ("plain", 64, 1, 2),
    ("plain", 128, 1, 3),
    ("plain", 64, 4, 4),
  ]
  assert {"command", "date", "versions", "config"} <= rows[0].keys()


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--target=tpu-v9"], "--target='tpu-v9' is unknown: choose one of tpu-v5e"),
    (["--target=tpu-v5e", "--chips=3"], "--chips=3: of tpu-v5e choose one of 1, 4, 8, 16"),
    (["--target=tpu-v5e", "--steps=plain,generator"], "--steps: generator is unknown: choose among critic, plain"),
    (["--target=tpu-v5e", "--chips=8", "--batch=12"], "--batch=12 does not divide over 8 devices"),
    (["--target=tpu-v5e", "--json={folder}/text.json"], "text.json is no JSON"),
    (["--target=tpu-v5e", "--json={folder}/other.json"], "other.json holds something else than rows of this benchmark"),
  ],
)
def test_mistakes_are_one_line(monkeypatch, tmp_path, flags, message):
  (tmp_path / "text.json").write_text("text")
  (tmp_path / "other.json").write_text("{}")
  monkeypatch.setattr(compilers, "prepare", lambda kind: None)
  with pytest.raises(UserError, match=message) as error:
    compiled.main([flag.format(folder=tmp_path) for flag in flags])
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(("kind", "command"), [("tpu", "make compiled"), ("gpu", "make compiled-gpu")])
def test_an_absent_compiler_is_one_line_that_says_what_to_install(monkeypatch, tmp_path, kind, command):
  monkeypatch.setitem(compilers.FOLDERS, kind, compilers.ENVIRONMENT / "nothing")
  monkeypatch.setitem(compilers._MODULES, kind, "no_such_compiler.at_all")
  with pytest.raises(UserError, match=f"`{command}` installs it .*--target=.venv/nothing") as error:
    compilers.prepare(kind)
  assert f"'{compilers.requirement(kind)}'" in str(error.value)


def test_the_compiler_is_the_one_that_jax_names():
  wanted = compilers.requirement("tpu")
  assert wanted.startswith("libtpu==")
  assert f"{wanted}; extra" in " ".join(importlib.metadata.requires("jax")).replace(" ;", ";")


@pytest.mark.parametrize("name", ["h100", "h200", "a100"])
def test_a_cards_text_has_its_numbers(name):
  target = targets.find(name)
  text = compilers.gpu_text(target)
  assert text.count("{") == text.count("}")
  assert f"device_memory_size: {target.memory_bytes} " in text
  assert f"memory_bandwidth: {int(target.bytes_per_second)} " in text


def test_scalars_and_tokens_have_their_bytes():
  assert [array.bytes for array in hlo.arrays("(pred[], s4[10]{0}, token[], f8e4m3fn[3]{0}, bf16[<=5,2]{1,0})")] == [
    1, 5, 0, 3, 20,
  ]  # fmt: skip


def test_a_step_is_timed_on_the_chip_that_is_named_alone(monkeypatch):
  class Card:
    device_kind = "NVIDIA H100 80GB HBM3"

  monkeypatch.setattr("jax.devices", lambda: [Card()])
  assert len(compilers.at_hand(targets.find("h100"), 1)) == 1
  with pytest.raises(UserError, match="1 x NVIDIA H100 80GB HBM3, not 1 x NVIDIA H200"):
    compilers.at_hand(targets.find("h200"), 1)
  with pytest.raises(UserError, match="not 4 x NVIDIA H100"):
    compilers.at_hand(targets.find("h100"), 4)


def test_a_measured_time_stands_beside_its_bound():
  rows = json.loads((results.FOLDER / "measured_gpu.json").read_text())
  shown = compiled.render([row for row in rows if row["step"] == "robust"], dearest=False)
  # 105.97 GB at 4.8 TB/s are 22.08 ms.
  assert "measured 105.8 ms (102.8 to 113.9), 4.79 times the bound" in shown and "22.08" in shown


def test_a_step_at_hand_is_run_and_timed(monkeypatch, tmp_path):
  """On this machine's own devices in the place of the chip: the program takes its arguments, again and again."""
  monkeypatch.setattr(compilers, "at_hand", lambda target, chips: jax.devices())
  monkeypatch.setattr(settings, "select_device", lambda device, config: None)
  chips = jax.device_count()
  flags = ["--image_size=32", "--width=2", "--critic_width=2", "--seeds=2", "--attack_steps=1", f"--batch={chips}"]
  path = tmp_path / "rows.json"
  compiled.main(["--target=h100", "--run=2", "--steps=attack,critic", f"--chips={chips}", f"--json={path}", *flags])
  for row in json.loads(path.read_text()):
    assert row["measured_seconds"] > 0 and len(row["measured"]["samples_s"]) == 2
