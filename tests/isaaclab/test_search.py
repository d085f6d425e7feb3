"""A whole search and a replay on Isaac Lab, by the command, with real processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Command

TASK = "Isaac-Velocity-Flat-Unitree-A1-v0"
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_a_search_of_two_trials_and_a_replay(
    hpsearch: Command, isaaclab_python: str, isaaclab_environment: dict[str, str]
) -> None:
    hpsearch.environment |= isaaclab_environment
    python = ("--python", isaaclab_python)
    said = hpsearch(
        "launch", "--task", TASK, "env.episode_length_s=2", "--num-envs", "16",
        "--budget", "20s", "--eval-episodes", "16", "--trials", "2", *python, timeout=800,
    )  # fmt: skip
    assert "2 of 2 finished" in said
    for trial in hpsearch.json("trials"):
        assert trial["state"] == "finished", trial["reason"]
        assert trial["num_timesteps"] > 0
        assert "reward/track_lin_vel_xy_exp" in trial["result"]["metrics"]
    said = hpsearch("replay", "--trial", "best", "--seeds", "1", *python, timeout=400)
    assert "1 seed(s)" in said


@pytest.mark.timeout(600)
def test_limits_are_extracted_from_a_ppo_in_the_simulator(
    hpsearch: Command, isaaclab_python: str, isaaclab_environment: dict[str, str]
) -> None:
    hpsearch.environment |= isaaclab_environment
    said = hpsearch(
        "bounds", "extract", "--task", "Isaac-Cartpole-v0", "--num-envs", "64", "--budget", "10s",
        "--force", "--python", isaaclab_python, timeout=500,
    )  # fmt: skip
    assert "n_actions = 64000" in said
    (joint,) = hpsearch.json("bounds", "show", "Isaac-Cartpole-v0-p2.5")["joints"]
    assert joint["name"] == "slider_to_cart" and joint["low"] < joint["high"]


def test_the_tasks_of_the_other_interpreter_are_listed(
    hpsearch: Command, isaaclab_python: str
) -> None:
    said = hpsearch("tasks", "--python", isaaclab_python, timeout=240)
    rows = {line.split()[0]: line for line in said.splitlines()}
    assert rows["Isaac-Cartpole"].split()[1] == "yes"
    assert rows["IsaacContrib-Velocity-Flat-UnitreeA1"].split()[1] == "yes"
    assert rows["Isaac-Shadow-Handover-Direct"].split()[1] == "no"
    assert "isaaclab 3." in hpsearch("doctor", "--python", isaaclab_python)


def test_installing_hpsearch_changes_no_package_of_the_simulator(
    isaaclab_python: str, tmp_path: Path
) -> None:
    def freeze() -> set[str]:
        # As docs/isaaclab.md says.
        command = [isaaclab_python, "-m", "pip", "freeze", "--exclude-editable"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return {line for line in done.stdout.splitlines() if "==" in line}

    before = freeze()
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join(sorted(before)))
    command = ["-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
    for packages in (["sbx-rl", "jax"], [str(ROOT)]):
        subprocess.run([isaaclab_python, *command, *packages], check=True, timeout=200)
        assert before <= freeze()
    subprocess.run(
        [isaaclab_python, "-m", "pip", "uninstall", "--quiet", "--yes", "hpsearch"], check=True
    )
