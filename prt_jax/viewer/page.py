"""The page itself, in gradio: a picture on the left, what is done with it on the right."""

import functools
import json
import pathlib
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import gradio
import numpy as np
from PIL import Image

from prt_jax.errors import UserError
from prt_jax.viewer.viewing import BOUNDS, Seen, Shown, Viewer

_HEADINGS = ["what", "value"]
_INTRODUCTION = """# {name}
**1** Choose or upload a picture and measure it; of a large one, the middle is taken. **2** *Restore* shows what the
restorer makes of it. **3** *Attack* changes the measurement, hardly visibly, so that the restoration changes most: a
low output PSNR beside a high input PSNR is a restorer that cannot be trusted. **4** *Explore* asks what else it could
have shown for almost the same measurement.
"""
# No fonts from the network: the page works without one.
_THEME = gradio.themes.Soft(
  primary_hue="slate", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)
_STYLE = """
footer {display: none !important}
.gradio-container {max-width: 1500px !important}
.pictures img {image-rendering: pixelated}
#examples .grid-wrap {overflow: hidden !important}
#examples .grid-container {grid-template-columns: repeat(auto-fit, minmax(56px, 1fr)) !important}
"""


def make_page(viewer: Viewer, examples: Sequence[tuple[str, np.ndarray]]) -> gradio.Blocks:
  """The page of a restorer.

  Args:
    viewer: what it calls.
    examples: pictures to choose from, (name, uint8 [H,W,3]).
  """
  stochastic = viewer.restorer.stochastic
  title = f"prt_jax: {viewer.restorer.name}"
  with gradio.Blocks(title=title, analytics_enabled=False, delete_cache=(3600, 3600)) as page:
    gradio.Markdown(_INTRODUCTION.format(name=viewer.restorer.name))
    seen, shown = gradio.State(), gradio.State({})
    with gradio.Row():
      with gradio.Column(scale=1, min_width=280):
        picture = gradio.Image(
          label="picture", type="numpy", image_mode="RGB", sources=["upload", "clipboard"], height=260,
          elem_id="picture",
        )
        if examples:
          chosen = gradio.Gallery(
            [image for _, image in examples], columns=len(examples), height=96, object_fit="cover", show_label=False,
            allow_preview=False, interactive=False, elem_id="examples", buttons=[],
          )
          chosen.select(_chooser(examples), None, picture)
        degradation = gradio.Dropdown(
          viewer.degradations, label="measured by (or a chain of your own)", allow_custom_value=True,
          interactive=len(viewer.degradations) > 1,
        )
        seed = gradio.Number(0, label="seed", precision=0, minimum=0)
        num_draws = gradio.Slider(1, 8, 4 if stochastic else 1, step=1, label="draws of Z", visible=stochastic)
        measure = gradio.Button("Measure and restore", variant="primary", elem_id="measure")
      with gradio.Column(scale=3), gradio.Tabs() as tabs:
        with gradio.Tab("Restore", id="restore"):
          restored = _outputs("restored")
        with gradio.Tab("Attack", id="attack", elem_id="attack-tab"):
          with gradio.Row():
            bound = gradio.Radio(list(BOUNDS), value="alpha", label="bounded by", scale=1)
            label, low, high, start, _ = BOUNDS["alpha"]
            value = gradio.Slider(low, high, start, label=label, scale=3)
            num_steps = gradio.Slider(5, 60, 20, step=5, label="steps", scale=1)
          attack = gradio.Button("Attack", variant="primary", elem_id="attack")
          attacked = _outputs("attacked")
        with gradio.Tab("Explore", id="explore", elem_id="explore-tab"):
          with gradio.Row():
            num_outputs = gradio.Slider(2, 8, 4, step=1, label="alternatives")
            least = gradio.Slider(25, 60, 35, step=1, label="input PSNR, dB, no less than")
            explore_steps = gradio.Slider(5, 100, 20, step=5, label="steps each")
          explore = gradio.Button("Explore", variant="primary", elem_id="explore")
          explored = _outputs("explored")
    download = gradio.DownloadButton("Download all that is shown", interactive=False, elem_id="download")

    bound.change(_slider, bound, value)
    everything = [seen, shown, download]
    measure.click(
      _guarded(functools.partial(_measure, viewer)), [picture, degradation, seed, num_draws],
      [*everything, *restored, *attacked, *explored],
    ).success(lambda: gradio.Tabs(selected="restore"), None, tabs)
    attack_inputs = [seen, shown, bound, value, num_steps, num_draws]
    run_attack = _guarded(functools.partial(_attack, viewer))
    gradio.on([attack.click, value.release], run_attack, attack_inputs, [*everything, *attacked])
    explore.click(
      _guarded(functools.partial(_explore, viewer)), [seen, shown, num_outputs, least, explore_steps],
      [*everything, *explored],
    )  # fmt: skip
  return page


def launch(page: gradio.Blocks, *, host: str, port: int, max_upload: int, wait: bool = True) -> Any:
  """Serves the page until it is stopped; returns gradio's (app, local URL, public URL).

  max_upload: megabytes of one picture. wait: False: returns at once, the server goes on in a thread.
  """
  return page.queue(max_size=16).launch(
    server_name=host, server_port=port, max_file_size=f"{max_upload}mb", share=False, quiet=True,
    prevent_thread_lock=not wait, theme=_THEME, css=_STYLE, show_error=True, enable_monitoring=False,
  )  # fmt: skip


def _outputs(name: str) -> list:
  """Numbers above, pictures below."""
  numbers = gradio.Dataframe(
    headers=_HEADINGS, show_label=False, elem_id=f"{name}-numbers", interactive=False, row_count=1, column_count=2
  )
  pictures = gradio.Gallery(
    label=name, columns=3, object_fit="contain", height=620, elem_id=f"{name}-pictures", elem_classes="pictures",
    format="png", interactive=False,
  )  # fmt: skip
  return [numbers, pictures]


def _guarded(function: Callable) -> Callable:
  """A UserError as a line on the page."""

  @functools.wraps(function)
  def call(*arguments):
    try:
      return function(*arguments)
    except UserError as error:
      raise gradio.Error(str(error), print_exception=False) from None

  return call


def _chooser(examples):
  # gradio finds the event by its annotation, which functools.partial would hide.
  def choose(event: gradio.SelectData):
    return examples[event.index][1]

  return choose


def _slider(bound):
  label, low, high, start, _ = BOUNDS[bound]
  return gradio.Slider(low, high, start, label=label)


def _measure(viewer: Viewer, picture, degradation, seed, num_draws):
  if picture is None:
    raise UserError("choose or upload a picture first")
  seen = viewer.measure(picture, degradation, int(seed or 0))
  shown = {"restore": viewer.restore(seen, int(num_draws))}
  empty = [[], []]
  return [seen, shown, _archive(shown), *_displayed(shown["restore"]), *empty, *empty]


def _attack(viewer: Viewer, seen: Seen | None, shown, bound, value, num_steps, num_draws):
  found = viewer.attack(_measured(seen), bound, value, int(num_steps), int(num_draws))
  shown = shown | {"attack": found}
  return [seen, shown, _archive(shown), *_displayed(found)]


def _explore(viewer: Viewer, seen: Seen | None, shown, num_outputs, least, num_steps):
  found = viewer.explore(_measured(seen), int(num_outputs), float(least), int(num_steps))
  shown = shown | {"explore": found}
  return [seen, shown, _archive(shown), *_displayed(found)]


def _measured(seen: Seen | None) -> Seen:
  if seen is None:
    raise UserError("measure a picture first")
  return seen


def _displayed(found: Shown) -> list:
  return [[list(row) for row in found.numbers], [(image, title) for title, image in found.images]]


def _archive(shown: dict[str, Shown]):
  """The download: a zip of the pictures as PNG and of the numbers as JSON."""
  path = pathlib.Path(tempfile.mkdtemp(dir=_folder().name)) / "prt_jax.zip"
  with zipfile.ZipFile(path, "w") as archive:
    for part, found in shown.items():
      for number, (title, image) in enumerate(found.images):
        with archive.open(f"{part}/{number}-{title.replace(' ', '_')}.png", "w") as file:
          Image.fromarray(image).save(file, format="png")
      archive.writestr(f"{part}/numbers.json", json.dumps(dict(found.numbers), indent=2))
  return gradio.DownloadButton(value=str(path), interactive=True)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
  """Where downloads lie until the server ends."""
  return tempfile.TemporaryDirectory(prefix="prt_jax-view-")
