"""One command a paper artefact: each prints its table beside the published numbers and writes JSON and a figure."""
