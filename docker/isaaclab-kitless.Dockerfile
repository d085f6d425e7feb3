# syntax=docker/dockerfile:1
# A worker with Isaac Lab on Newton, without Isaac Sim. From the repository's root:
#   docker build --file docker/isaaclab-kitless.Dockerfile --tag hpsearch-isaaclab-kitless:0.1.0 .

FROM python:3.12-slim AS build
RUN pip install --no-cache-dir build==1.6.1
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY hpsearch hpsearch
COPY samplers samplers
COPY objectives objectives
RUN python -m build --wheel --outdir /wheel

FROM python:3.12-slim
RUN apt-get update && apt-get install --yes --no-install-recommends git libgl1 libglu1-mesa \
    && rm -rf /var/lib/apt/lists/*
# With GPUs: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 --build-arg JAX=jax[cuda13]
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG JAX=jax
# In an environment of its own: the simulator's packages and hpsearch's must not meet. torch's own
# index has few versions of what torch needs, so the second line brings those to the constraints.
RUN --mount=type=bind,source=tests/isaaclab/constraints.txt,target=/constraints.txt \
    python -m venv /opt/isaaclab \
    && /opt/isaaclab/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" torch==2.13.0 \
    && /opt/isaaclab/bin/pip install --no-cache-dir --constraint /constraints.txt \
       warp-lang "newton[sim]" newton-usd-schemas gymnasium stable-baselines3 sbx-rl "$JAX" \
       hydra-core trimesh prettytable psutil filelock lazy_loader Jinja2 gitpython einops numba \
       h5py tensorboard packaging tqdm rich scipy requests matplotlib botocore \
    && /opt/isaaclab/bin/pip install --no-cache-dir --no-deps --ignore-requires-python \
       isaaclab==3.0.0 usd-exchange==3.0.1
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    python -m venv /opt/hpsearch \
    && /opt/hpsearch/bin/pip install --no-cache-dir --constraint /constraints.txt \
       /wheel/hpsearch-*.whl

ARG UID=1000
RUN useradd --uid "$UID" --create-home hpsearch \
    && install --directory --owner=hpsearch --mode=700 /var/lib/hpsearch
USER $UID
WORKDIR /home/hpsearch
ENV PATH=/opt/hpsearch/bin:$PATH \
    HPSEARCH_PYTHON=/opt/isaaclab/bin/python \
    HPSEARCH_DATA_DIR=/var/lib/hpsearch \
    HPSEARCH_CACHE_DIR=/var/lib/hpsearch/cache \
    WARP_CACHE_PATH=/var/lib/hpsearch/cache/warp \
    PYTHONUNBUFFERED=1
ENTRYPOINT ["hpsearch"]
CMD ["--help"]
