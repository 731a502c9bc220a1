"""The sources of images, by the value of data.source.

A source is a module with
  describe(data) -> JSON-able dict that identifies what it will produce; cheap, opens no image;
  read(data) -> {"train": Split, "val": Split}, lazily;
  look(data) -> Found, at once: what read would find here. Imports no TensorFlow, downloads and writes nothing.
To add one, write such a module and name it here.
"""

from prt_jax.data import folder_source, sample_source, tfds_source

SOURCES = {"tfds": tfds_source, "folder": folder_source, "sample": sample_source}
