"""The adapter against the simulator itself, on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hpsearch.objectives.limits import A1_JOINTS

COMMANDS = slice(9, 12)
"""Of a velocity task's observations; they go on after the moment of the terminal observation."""


@pytest.fixture(scope="session")
def explored(
    isaaclab_python: str, isaaclab_environment: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """What each task did, by its id; every process is started once."""
    return {}


def look(
    task: str, python: str, variables: dict[str, str], known: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    if task not in known:
        done = subprocess.run(
            [python, Path(__file__).with_name("inside.py"), task],
            env={**os.environ, **variables}, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        known[task] = json.loads(done.stdout.splitlines()[-1])
    return known[task]


@pytest.fixture(
    params=[
        "Isaac-Cartpole-v0",
        "Isaac-Velocity-Flat-Unitree-A1-v0",
        "IsaacContrib-Velocity-Rough-UnitreeA1",
    ]
)
def found(
    request: pytest.FixtureRequest,
    isaaclab_python: str,
    isaaclab_environment: dict[str, str],
    explored: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    return {
        "task": request.param,
        **look(request.param, isaaclab_python, isaaclab_environment, explored),
    }


@pytest.mark.timeout(660)
def test_shapes_are_those_of_the_task(found: dict[str, Any]) -> None:
    width = {"Cart": 4, "Flat": 48, "Rough": 235}
    (expected,) = [n for word, n in width.items() if word in found["task"]]
    assert found["observation_shape"] == [16, expected]


def test_a_seed_decides_the_first_observations(found: dict[str, Any]) -> None:
    assert found["same_seed"] and not found["other_seed"]


def test_actions_follow_the_order_of_the_published_limits(found: dict[str, Any]) -> None:
    assert found["joints"] == (["slider_to_cart"] if "Cart" in found["task"] else list(A1_JOINTS))


def test_each_action_moves_the_joint_whose_limits_it_has(found: dict[str, Any]) -> None:
    # The cart is pushed, not sent to a position.
    moved = [] if "Cart" in found["task"] else [[joint] for joint in A1_JOINTS]
    assert [joints for joints in found["moved"] if joints] == moved


def test_limits_are_those_of_each_joint_and_clip(found: dict[str, Any]) -> None:
    n_joints = len(found["joints"])
    low, high = found["limits"]
    assert low == pytest.approx([-0.5 * (1 + k) / n_joints for k in range(n_joints)])
    assert high == pytest.approx([0.25 * (1 + k) / n_joints for k in range(n_joints)])
    assert found["clipped"]


def test_a_time_out_shows_the_observation_before_the_reset(found: dict[str, Any]) -> None:
    error = found["terminal_error"]
    if "Velocity" in found["task"]:
        error[COMMANDS] = []
    assert found["n_ended"] > 0 and found["truncated"]
    assert max(error) < 1e-4
    assert found["reset_difference"] > 0.01


def test_the_path_of_tensors_shows_the_same(found: dict[str, Any]) -> None:
    assert found["tensors_agree"]


def test_reward_terms_are_metrics(found: dict[str, Any]) -> None:
    from hpsearch.plugins import load_task

    task = load_task(found["task"], {})
    terms = {name for name in found["metrics"] if name.startswith("reward/")}
    assert terms and {name for name in task.metric_names if "*" not in name} <= set(
        found["metrics"]
    )


def test_the_terrain_level_moves_in_training_only(found: dict[str, Any]) -> None:
    if "Rough" not in found["task"]:
        assert found["level_moving"] == [None, None]
        return
    assert found["level_frozen"][0] == found["level_frozen"][1]
    assert found["level_begun"][0] == found["level_begun"][1]
    assert found["level_moving"][0] > found["level_moving"][1]
