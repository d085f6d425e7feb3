"""The simulator's interpreter and stand-ins for its downloads; skipped where it is missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import hpsearch  # noqa: F401  a fixture

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def isaaclab_python() -> str:
    """The interpreter that `make test-isaaclab` made."""
    python = os.environ.get("ISAACLAB_PYTHON")
    if python is None:
        pytest.skip("Isaac Lab is tested by `make test-isaaclab`")
    return python


@pytest.fixture(scope="session")
def isaaclab_environment(
    isaaclab_python: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Variables with which the simulator finds robots and compiled kernels."""
    folder = tmp_path_factory.mktemp("assets")
    subprocess.run([isaaclab_python, HERE / "robots.py", folder], check=True, timeout=120)
    kernels = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "hpsearch" / "warp"
    return {
        "ISAACSIM_ASSET_ROOT": str(folder),
        "WARP_CACHE_PATH": os.environ.get("WARP_CACHE_PATH", str(kernels)),
        "HYDRA_FULL_ERROR": "1",
    }
