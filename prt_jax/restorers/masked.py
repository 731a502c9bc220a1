"""A network of inpainting, which is told what to fill, as a restorer of pictures that all have the same holes."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from prt_jax.restorers.restorer import FunctionDegradation, Restorer


def masked(restorer: Restorer, mask: np.ndarray) -> Restorer:
  """The restorer x = f(y with holes, mask), whose degradation makes the holes: pixels to be filled become 0.

  Args:
    restorer: f, of measurements [B,h,w,4] whose last channel is the mask.
    mask: [H,W], 1 where pixels are to be filled and 0 elsewhere. Of smaller measurements, parts of a picture from its
      upper left corner on, the same part of it is used.
  """
  mask = np.asarray(mask, np.float32)[None, :, :, None]

  def holes(y):
    return mask[:, : y.shape[1], : y.shape[2]]

  def clean(x):
    return x * (1 - holes(x))

  def apply(params, y, z):
    marks = jnp.broadcast_to(holes(y), (*y.shape[:3], 1))
    return restorer.apply(params, jnp.concatenate([clean(y), marks], -1), z)

  return dataclasses.replace(restorer, apply=apply, degradation=FunctionDegradation(clean, norm=1.0))
