# The demo on a machine that has Docker alone:
#   docker build -t prt_jax . && docker run --rm -v "$PWD/runs:/prt_jax/runs" prt_jax
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /prt_jax
ENV PIP_NO_CACHE_DIR=1
# What pip installs is a layer of its own, made again where one of these two files changes.
COPY Makefile requirements.txt ./
RUN make .venv/package
COPY . .
# Whatever dates the checkout's files have, the environment is there already.
RUN touch .venv/package
CMD ["make", "demo"]
