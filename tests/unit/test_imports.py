"""What must not be imported: the service knows no simulator, the child needs no database."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_command_line_loads_no_simulator_and_no_trainer() -> None:
    heavy = {"jax", "torch", "mujoco", "sbx", "stable_baselines3", "flax", "gymnasium"}
    heavy |= {"scipy", "cmaes"}
    assert not loaded_by("import hpsearch.cli") & heavy


def test_looking_at_every_task_loads_no_simulator() -> None:
    statement = (
        "from hpsearch import plugins; [plugins.load_task(n, {}) for n in plugins.names('task')]"
    )
    assert not loaded_by(statement) & {"jax", "torch", "mujoco", "sbx", "stable_baselines3"}


@pytest.mark.parametrize("module", ["base", "exceptions", "plugins", "child"])
def test_what_the_child_needs_is_standard_library_only(module: str) -> None:
    ours = {"hpsearch"}
    found = loaded_by(f"import hpsearch.{module}") - ours - loaded_by("pass")
    assert {name for name in found if name not in sys.stdlib_module_names} <= set()


def test_no_objective_needs_the_database_or_optuna() -> None:
    statement = "import hpsearch.objectives.training, hpsearch.objectives.sphere"
    assert not loaded_by(statement) & {"optuna", "sqlalchemy", "pydantic", "platformdirs"}
