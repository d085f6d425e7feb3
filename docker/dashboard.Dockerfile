# syntax=docker/dockerfile:1
# The dashboard; without jax, torch and simulators. From the repository's root:
#   docker build --file docker/dashboard.Dockerfile --tag hpsearch-dashboard:0.1.0 .

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
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    pip install --no-cache-dir --constraint /constraints.txt /wheel/hpsearch-*.whl

# The secret with the database's URL must be readable by this user and by nobody else.
ARG UID=1000
RUN useradd --uid "$UID" --create-home hpsearch
USER $UID
WORKDIR /home/hpsearch
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["hpsearch"]
# It listens on 127.0.0.1 of its own network only: see docker/README.md.
CMD ["dashboard"]
