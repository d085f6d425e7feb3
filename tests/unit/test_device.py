"""JAX's settings: made before its import, unless the user has made them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpsearch.objectives.device import prepare_jax

SHOW_CACHE = """
from hpsearch.objectives.device import prepare_jax
prepare_jax()
import jax
jax.jit(lambda x: 2 * x + 1)(1.0)
print(jax.config.jax_compilation_cache_dir)
"""


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The process's variables for one test: none."""
    made: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", made)
    return made


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"HOME": "{folder}"}, ".cache/hpsearch/jax"),
        ({"HOME": "/dev/null", "XDG_CACHE_HOME": "{folder}"}, "hpsearch/jax"),
        ({"XDG_CACHE_HOME": "/dev/null", "HPSEARCH_CACHE_DIR": "{folder}"}, "jax"),
    ],
)
def test_compiled_programs_are_kept_in_the_users_cache_or_where_a_variable_says(
    chosen: dict[str, str], expected: str, variables: dict[str, str], tmp_path: Path
) -> None:
    variables |= {name: value.format(folder=tmp_path) for name, value in chosen.items()}
    prepare_jax()
    folder = Path(variables["JAX_COMPILATION_CACHE_DIR"])
    assert folder.parent == tmp_path / expected and folder.is_dir()
    assert variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"
    assert variables["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] == "-1"
    assert variables["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_jaxs_own_variables_win(variables: dict[str, str], tmp_path: Path) -> None:
    theirs = {
        "JAX_COMPILATION_CACHE_DIR": "/mine",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "5",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "7",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "true",
    }
    variables |= {**theirs, "HPSEARCH_CACHE_DIR": str(tmp_path)}
    prepare_jax()
    assert theirs.items() <= variables.items()


def test_a_user_without_a_cache_folder_has_no_cache(variables: dict[str, str]) -> None:
    prepare_jax()
    assert not [name for name in variables if name.startswith("JAX_")]


def test_jax_keeps_even_a_small_program_there(tmp_path: Path) -> None:
    theirs = {name: text for name, text in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", SHOW_CACHE], check=True, capture_output=True, text=True,
        env={**theirs, "HPSEARCH_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    folder = Path(done.stdout.strip())
    assert folder.parent == tmp_path / "jax" and list(folder.iterdir())
