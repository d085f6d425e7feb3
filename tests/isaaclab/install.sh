#!/usr/bin/env bash
# Makes .venv-isaaclab: Isaac Lab 3 on its Newton backend, without Isaac Sim and without a GPU, from
# the Python that .venv was made from (BASE_PYTHON names another one).
#
# Isaac Lab is declared for Python 3.12 and pins a CUDA build of torch; what these tests need of it
# also runs on 3.11 with the CPU build, so it is installed without its declared dependencies.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=.venv-isaaclab
constraints=tests/isaaclab/constraints.txt

stamp=$(cat tests/isaaclab/install.sh "$constraints" | sha256sum)
[ "$(cat $venv/.ready 2>/dev/null)" = "$stamp" ] && exit 0

"${BASE_PYTHON:-.venv/bin/python}" -m venv --clear $venv
pip=("$venv/bin/pip" --disable-pip-version-check --quiet)
# First, so that a CPU build can be chosen: its file or index as TORCH.
"${pip[@]}" install "${TORCH:-torch==2.13.0}"
"${pip[@]}" install --constraint "$constraints" \
  warp-lang 'newton[sim]' newton-usd-schemas gymnasium stable-baselines3 sbx-rl hydra-core trimesh \
  prettytable psutil filelock lazy_loader Jinja2 gitpython einops numba h5py tensorboard \
  packaging tqdm rich scipy requests matplotlib botocore
"${pip[@]}" install --no-deps --ignore-requires-python isaaclab==3.0.0 usd-exchange==3.0.1
echo "$stamp" >$venv/.ready
