"""Action limits and baselines by the installed command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import Command

SHORT = ("--task", "Pendulum-v1", "--budget", "1s", "--num-envs", "4")


@pytest.mark.timeout(400)
def test_limits_of_a_ppo_that_did_not_learn_are_stored_only_by_force(hpsearch: Command) -> None:
    said = hpsearch("bounds", "extract", *SHORT, status=2, timeout=180)
    assert "PPO did not learn 'Pendulum-v1'" in said
    # The run is kept, so this trains nothing.
    said = hpsearch("bounds", "extract", *SHORT, "--force", timeout=60)
    assert "n_actions = 64000" in said and "learned = False" in said
    stored, *built_in = hpsearch.json("bounds", "list")
    assert "a1" in {each["name"] for each in built_in}
    assert stored["name"] == "Pendulum-v1-p2.5"
    assert hpsearch.json("studies")
    plan = hpsearch("launch", "--task", "Pendulum-v1", "--bounds", "auto", "--dry-run")
    assert '"name": "Pendulum-v1-p2.5"' in plan and "before: PPO" not in plan


@pytest.mark.timeout(400)
def test_a_baseline_is_trained_once_a_seed(hpsearch: Command) -> None:
    command = ("train", *SHORT, "--algo", "ppo", "--eval-episodes", "4", "--seeds", "1")
    first = hpsearch(*command, timeout=180)
    assert "over 1 seed(s)" in first
    again = hpsearch(*command)
    assert first.splitlines()[1] in again
    assert "train seed" in hpsearch("logs")


def test_limits_travel_by_files_and_are_checked_by_joint(
    hpsearch: Command, tmp_path: Path
) -> None:
    file = tmp_path / "limits.json"
    hpsearch("bounds", "export", "a1", str(file))
    assert len(json.loads(file.read_text())["joints"]) == 12
    mine = json.loads(file.read_text())
    mine["joints"] = [joint.removesuffix("_joint") for joint in mine["joints"]]
    file.write_text(json.dumps(mine))
    hpsearch("bounds", "import", "mine", str(file), "--task", "quadruped-walk")
    assert "FL_hip" in hpsearch("bounds", "show", "mine")
    assert "mine" in hpsearch("bounds", "list")
    plan = hpsearch("launch", "--task", "quadruped-walk", "--bounds", "mine", "--dry-run")
    assert '"name": "mine"' in plan
    mine["joints"][:2] = mine["joints"][1::-1]
    file.write_text(json.dumps(mine))
    said = hpsearch("bounds", "import", "other", str(file), "--task", "quadruped-walk", status=2)
    assert "joint 0 is FR_hip there and FL_hip in the task" in said
    said = hpsearch("launch", "--bounds", "nothing-like-it", "--dry-run", status=2)
    assert "no stored action limits" in said


def test_a_robot_without_limits_is_warned_of(hpsearch: Command) -> None:
    command = ("launch", "--task", "quadruped-walk", "--bounds", "none", "--workers", "0")
    assert "nothing limits the actions" in hpsearch(*command)
