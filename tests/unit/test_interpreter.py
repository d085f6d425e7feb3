"""What is asked of another interpreter, and the task that follows from it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hpsearch import interpreter
from hpsearch.exceptions import InvalidInterpreter, InvalidValue
from hpsearch.interpreter import CPU_TASK, ISAACLAB_TASK, default_task, isaaclab_tasks, versions


def fake(folder: Path, line: str) -> str:
    """Returns an interpreter that prints a line whatever it is asked."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho 'the simulator greets you'\n{line}\n")
    path.chmod(0o755)
    return str(path)


def test_versions_are_those_of_the_interpreter_that_was_named() -> None:
    found = versions(sys.executable, ["optuna", "no-such-package"])
    assert found["python"] == sys.version.split()[0]
    assert "optuna" in found and "no-such-package" not in found


def test_what_a_simulator_prints_before_is_no_answer(tmp_path: Path) -> None:
    assert isaaclab_tasks(fake(tmp_path, """echo '["Isaac-Ant"]'""")) == ["Isaac-Ant"]


def test_an_interpreter_that_fails_is_named_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInterpreter, match="no module"):
        versions(fake(tmp_path, "echo 'no module' >&2; exit 1"), [])
    with pytest.raises(InvalidValue, match="--python"):
        versions("/no/such/python", [])


@pytest.mark.parametrize(
    ("gpus", "answer", "task"),
    [
        ({}, '{"isaaclab": "3.0.0"}', CPU_TASK),
        ({"0": "GPU-1"}, "{}", CPU_TASK),
        ({"0": "GPU-1"}, '{"isaaclab": "3.0.0"}', ISAACLAB_TASK),
    ],
)
def test_isaac_lab_is_the_default_where_a_gpu_can_run_it(
    gpus: dict[str, str], answer: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreter, "usable_gpus", lambda: gpus)
    assert default_task(fake(tmp_path, f"echo '{answer}'")) == task
