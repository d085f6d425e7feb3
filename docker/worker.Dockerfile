# syntax=docker/dockerfile:1
# A worker and launcher on the CPU. From the repository's root:
#   docker build --file docker/worker.Dockerfile --tag hpsearch-worker:0.1.0 .

FROM python:3.11-slim AS build
RUN pip install --no-cache-dir build==1.6.1
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY hpsearch hpsearch
# hpsearch/samplers and hpsearch/objectives are links to these two.
COPY samplers samplers
COPY objectives objectives
RUN python -m build --wheel --outdir /wheel

FROM python:3.11-slim
# The CPU build of torch comes first, or a CUDA build of several GB follows with sbx-rl.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch==2.13.0
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    pip install --no-cache-dir --constraint /constraints.txt \
    "hpsearch[rl] @ file://$(echo /wheel/hpsearch-*.whl)"

# The secret with the database's URL must be readable by this user and by nobody else.
ARG UID=1000
RUN useradd --uid "$UID" --create-home hpsearch \
    && install --directory --owner=hpsearch --mode=700 /var/lib/hpsearch
USER $UID
# A user's own tasks and spaces are looked for in the current folder.
WORKDIR /home/hpsearch
ENV HPSEARCH_DATA_DIR=/var/lib/hpsearch \
    HPSEARCH_CACHE_DIR=/var/lib/hpsearch/cache \
    PYTHONUNBUFFERED=1
ENTRYPOINT ["hpsearch"]
CMD ["--help"]
