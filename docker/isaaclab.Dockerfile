# syntax=docker/dockerfile:1
# A worker on NVIDIA's own image of Isaac Lab, with Isaac Sim's PhysX. From the repository's root:
#   docker build --file docker/isaaclab.Dockerfile --tag hpsearch-isaaclab:0.1.0 .
# Using the base image means accepting NVIDIA's licence: run it with --env ACCEPT_EULA=Y.

FROM python:3.11-slim AS build
RUN pip install --no-cache-dir build==1.6.1
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY hpsearch hpsearch
COPY samplers samplers
COPY objectives objectives
RUN python -m build --wheel --outdir /wheel

FROM nvcr.io/nvidia/isaac-lab:3.0.0
USER root
# The simulator's interpreter trains; hpsearch has an environment of its own beside it. What is
# installed there already stays as it is. This script sets paths and starts the simulator's
# Python below itself, which hpsearch allows.
ARG ISAACLAB_PYTHON=/workspace/isaaclab/_isaac_sim/python.sh
ARG JAX=jax[cuda12]
RUN "$ISAACLAB_PYTHON" -c 'import sys; assert sys.version_info >= (3, 11), sys.version' \
    && "$ISAACLAB_PYTHON" -m pip freeze --exclude-editable | grep == >/tmp/constraints.txt \
    && "$ISAACLAB_PYTHON" -m pip install --no-cache-dir --constraint /tmp/constraints.txt \
       "sbx-rl>=0.28,<0.29" "$JAX>=0.6,<0.12" \
    && rm /tmp/constraints.txt
# Also of 3.11 or later; another one than the system's can be named.
ARG SYSTEM_PYTHON=python3
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    apt-get update && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && "$SYSTEM_PYTHON" -c 'import sys; assert sys.version_info >= (3, 11), sys.version' \
    && "$SYSTEM_PYTHON" -m venv /opt/hpsearch \
    && /opt/hpsearch/bin/pip install --no-cache-dir --constraint /constraints.txt \
       /wheel/hpsearch-*.whl

ARG UID=1000
RUN (id "$UID" || useradd --uid "$UID" --create-home hpsearch) \
    && install --directory --owner="$UID" --mode=700 /var/lib/hpsearch
USER $UID
WORKDIR /var/lib/hpsearch
ENV PATH=/opt/hpsearch/bin:$PATH \
    HOME=/var/lib/hpsearch \
    HPSEARCH_PYTHON=$ISAACLAB_PYTHON \
    HPSEARCH_DATA_DIR=/var/lib/hpsearch \
    HPSEARCH_CACHE_DIR=/var/lib/hpsearch/cache \
    WARP_CACHE_PATH=/var/lib/hpsearch/cache/warp \
    PYTHONUNBUFFERED=1
ENTRYPOINT ["hpsearch"]
CMD ["--help"]
