"""What is asked of another interpreter, and the task that follows from it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpsearch import interpreter, plugins
from hpsearch.cli import app
from hpsearch.exceptions import InvalidInterpreter, InvalidValue
from hpsearch.interpreter import (
    CPU_TASK,
    ISAACLAB_TASK,
    LAUNCHES,
    default_task,
    isaaclab_tasks,
    jax_devices,
    versions,
)


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
    told = {"Isaac-Ant": "", "Isaac-Lift": "needs Isaac Sim"}
    assert isaaclab_tasks(fake(tmp_path, f"echo '{json.dumps(told)}'")) == told


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
        ({"0": "GPU-1"}, '{"isaaclab": "2.3.0"}', CPU_TASK),
        ({"0": "GPU-1"}, f'{{"isaaclab": "5.1.2", "{LAUNCHES}": ""}}', ISAACLAB_TASK),
    ],
)
def test_isaac_lab_is_the_default_where_a_gpu_can_run_it(
    gpus: dict[str, str], answer: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreter, "usable_gpus", lambda: gpus)
    assert default_task(fake(tmp_path, f"echo '{answer}'")) == task


@pytest.mark.parametrize("line", ["", "exec true > /dev/null", "echo [1]", "echo '{'"])
def test_an_answer_that_is_none_is_no_traceback(tmp_path: Path, line: str) -> None:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    with pytest.raises(InvalidInterpreter, match="is it Python"):
        versions(str(path), [])


def test_the_devices_are_those_that_the_interpreter_sees(tmp_path: Path) -> None:
    assert jax_devices(fake(tmp_path, """echo '["NVIDIA H100"]'""")) == ["NVIDIA H100"]


def with_isaaclab(folder: Path, launcher: str) -> str:
    """Returns an interpreter that has Isaac Lab as sources, without a distribution."""
    package = folder / "isaaclab"
    (package / "app").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('nobody may import it')")
    (package / "app" / "launcher.py").write_text(launcher)
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("launcher", "new"),
    [("def validate_launch(cfg): ...", True), ("class AppLauncher: ...", False)],
)
def test_isaac_lab_is_known_by_how_it_starts_and_not_imported(
    tmp_path: Path, launcher: str, new: bool
) -> None:
    found = versions(with_isaaclab(tmp_path, launcher), ["isaaclab"])
    assert "isaaclab" in found and (LAUNCHES in found) is new
    assert LAUNCHES not in versions(sys.executable, ["isaaclab"])


def test_doctor_tells_an_old_isaac_lab_and_python_and_the_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpsearch.cli import doctor

    found = {"python": "3.10.2", "isaaclab": "5.1.2", "jax": "0.6", "sbx-rl": "0.28"}
    monkeypatch.setattr(doctor, "versions", lambda *_: found)
    monkeypatch.setattr(doctor, "jax_devices", lambda _: ["NVIDIA H100"])
    said = CliRunner().invoke(app, ["doctor"])
    lines = said.stdout.splitlines()
    assert any("MISSING" in line and "3.11 or later" in line for line in lines)
    assert any("MISSING" in line and "isaaclab is too old" in line for line in lines)
    assert any(line.startswith("ok") and "jax computes on NVIDIA H100" in line for line in lines)
    found |= {"python": "3.12.1", LAUNCHES: ""}
    assert "too old" not in CliRunner().invoke(app, ["doctor"]).stdout


def rows(monkeypatch: pytest.MonkeyPatch, found: dict[str, str]) -> dict[str, str]:
    from hpsearch.cli import tasks

    monkeypatch.setattr(tasks, "versions", lambda *_: {"python": "3.12.1", **found})
    listed = {"Isaac-Ant": "", "Isaac-Lift": "needs Isaac Sim, for a camera"}
    monkeypatch.setattr(tasks, "isaaclab_tasks", lambda _: listed)
    said = CliRunner().invoke(app, ["tasks"])
    assert said.exit_code == 0, said
    return {line.split()[0]: line for line in said.stdout.splitlines()}


OTHERS = """
from hpsearch.objectives.tasks.isaaclab import IsaacLab


class Bdx(IsaacLab):
    \"\"\"A robot of somebody else.\"\"\"

    def __init__(self): super().__init__("Disney-BDX-v0")


def picky(): raise TypeError("it wants a setting")
def broken(): raise KeyError("no such file")
"""


def test_tasks_says_of_each_row_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks_of_others.py").write_text(OTHERS)
    monkeypatch.syspath_prepend(tmp_path)
    others = {n: f"tasks_of_others:{n}" for n in ("Bdx", "picky", "broken", "missing")}
    monkeypatch.setattr(plugins, "_entry_points", lambda kind: others if kind == "task" else {})
    there = {"sbx-rl": "1", "jax": "1", "mujoco": "1"}
    said = rows(monkeypatch, there)
    assert "yes" in said["quadruped-walk"]
    assert " no " in said["Bdx"] and "needs isaaclab;" in said["Bdx"]
    assert "it wants a setting" in said["picky"] and "no such file" in said["broken"]
    assert "missing" in said
    said = rows(monkeypatch, {**there, "isaaclab": "2.3"})
    assert "needs isaaclab 3" in said["Bdx"]
    said = rows(monkeypatch, {**there, "isaaclab": "3.0", LAUNCHES: ""})
    assert " yes " in said["Bdx"] and " yes " in said["Isaac-Ant"]
    assert " no " in said["Isaac-Lift"] and "needs Isaac Sim, for a camera" in said["Isaac-Lift"]
    said = rows(monkeypatch, {"isaaclab": "3.0", LAUNCHES: ""})
    assert "needs sbx-rl, jax" in said["Isaac-Ant"]
