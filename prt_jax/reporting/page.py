"""HTML pages that stand alone in one file: nothing is fetched, and whatever is named in them is escaped."""

import base64
import json
from typing import Any

import jinja2
import numpy as np

from prt_jax.io.pictures import png

_PAGES = jinja2.Environment(
  loader=jinja2.PackageLoader("prt_jax.reporting"),
  autoescape=True,
  undefined=jinja2.StrictUndefined,
  trim_blocks=True,
  lstrip_blocks=True,
)


def render(template: str, **fields: Any) -> str:
  """The page that a file of templates/ makes of its fields; jinja2.UndefinedError where one is missing."""
  return _PAGES.get_template(template).render(fields)


def data_uri(image: np.ndarray) -> str:
  """A picture [H,W,3] uint8 as the address of an <img>."""
  return f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"


_PAGES.filters["data_uri"] = data_uri
_PAGES.filters["json"] = lambda value: json.dumps(value, indent=2)
