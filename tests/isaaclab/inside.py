"""Opens one task in the simulator's interpreter, tries it out, and prints what it found as JSON.

`python inside.py TASK`, with ISAACSIM_ASSET_ROOT. One process a task: a simulation cannot be
opened twice. The last line of stdout is the JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
NUM_ENVS = 16
LOW, HIGH = -0.5, 0.25
STEPS = 20


def simulation_of(env: Any) -> Any:
    """Returns Isaac Lab's own environment."""
    return env.venv.unwrapped


def tensor_end(env: Any, task: Any, seconds: float, seed: int) -> list[Any]:
    """Steps as `episode_end` does, without NumPy; returns the last step's five arrays."""
    import torch

    simulation_of(env).cfg.episode_length_s = seconds
    rng, bounds = np.random.default_rng(0), (env.action_space.low, env.action_space.high)
    with task.evaluating(env), torch.no_grad():
        env.seed(seed)
        env.reset_tensors()
        for _ in range(STEPS):
            actions = rng.uniform(*bounds, (NUM_ENVS, len(bounds[0])))
            step = env.step_tensors(torch.from_numpy(actions.astype(np.float32)))
    return [each.cpu().numpy() for each in step]


def episode_end(env: Any, task: Any, seconds: float, seed: int) -> tuple[Any, Any, list[Any]]:
    """Steps from a seeded start; returns the last observations, dones and infos."""
    simulation = simulation_of(env)
    simulation.cfg.episode_length_s = seconds
    rng, bounds = np.random.default_rng(0), (env.action_space.low, env.action_space.high)
    with task.evaluating(env):
        env.seed(seed)
        env.reset()
        for _ in range(STEPS):
            actions = rng.uniform(*bounds, (NUM_ENVS, len(bounds[0])))
            observations, _, dones, infos = env.step(actions.astype(np.float32))
    return observations, dones, infos


def limits_of(task: Any) -> tuple[list[float], list[float]]:
    """Returns other limits for each joint, all of them within LOW and HIGH."""
    n_actions = max(1, len(task.action_names))
    shares = [(1 + k) / n_actions for k in range(n_actions)]
    return [LOW * share for share in shares], [HIGH * share for share in shares]


def moved_joints(env: Any) -> list[list[str]]:
    """Returns, for each action, the joints whose position it commands."""
    robot, n_actions = simulation_of(env).scene["robot"], env.action_space.shape[0]

    def commanded(actions: Any) -> Any:
        env.step(np.tile(actions, (NUM_ENVS, 1)).astype(np.float32))
        return robot.data.joint_pos_target.torch[0].cpu().numpy().copy()

    rest = commanded(np.zeros(n_actions))
    return [
        [robot.joint_names[k] for k in np.flatnonzero(commanded(action) != rest)]
        for action in HIGH * np.eye(n_actions)
    ]


def explore(task_id: str) -> dict[str, Any]:
    """Returns what one task does."""
    from hpsearch.plugins import load_task

    settings = {"env.observations.policy.enable_corruption": "false"}
    task = load_task(task_id, settings)
    found: dict[str, Any] = {}
    low, high = limits_of(task)
    with task.make(NUM_ENVS, 1, action_low=low, action_high=high) as env:
        with task.evaluating(env):
            first = env.reset()
            env.seed(2)
            other = env.reset()
            env.seed(1)
            again = env.reset()
        found["observation_shape"] = first.shape
        found["same_seed"] = bool(np.array_equal(first, again))
        found["other_seed"] = bool(np.array_equal(first, other))
        found["joints"] = list(task.action_names)
        found["limits"] = [env.action_space.low.tolist(), env.action_space.high.tolist()]

        step_seconds = simulation_of(env).step_dt
        # An episode that is cut after STEPS, and the same steps in one that goes on.
        cut = episode_end(env, task, STEPS * step_seconds, seed=3)
        on = episode_end(env, task, 1000.0, seed=3)
        ended = np.flatnonzero(cut[1] & ~on[1])
        found["n_ended"] = len(ended)
        terminal = np.array([cut[2][k]["terminal_observation"] for k in ended])
        found["terminal_error"] = np.abs(terminal - on[0][ended]).max(axis=0).tolist()
        found["reset_difference"] = float(np.abs(terminal - cut[0][ended]).max())
        found["truncated"] = all(cut[2][k]["TimeLimit.truncated"] for k in ended)

        shown, _, terminated, truncated, last = tensor_end(env, task, STEPS * step_seconds, seed=3)
        found["tensors_agree"] = bool(
            np.allclose(shown, cut[0], atol=1e-5)
            and np.array_equal(terminated | truncated, cut[1])
            and np.allclose(last[ended], terminal, atol=1e-5)
        )

        # Beyond the limits an action acts like the limit of its own joint.
        seen = {}
        for name, action in (("limit", np.array(high)), ("outside", np.full(len(high), 50.0))):
            with task.evaluating(env):
                env.seed(4)
                env.reset()
                seen[name] = env.step(np.tile(action, (NUM_ENVS, 1)).astype(np.float32))[0]
        found["moved"] = moved_joints(env)
        found["clipped"] = bool(np.allclose(seen["limit"], seen["outside"]))

        found["metrics"] = dict(task.metrics(env))
        before = found["metrics"].get("terrain_level")
        still = np.zeros((NUM_ENVS, env.action_space.shape[0]), np.float32)
        simulation_of(env).cfg.episode_length_s = STEPS * step_seconds

        def level_after_episodes() -> Any:
            env.reset()
            for _ in range(STEPS + 1):
                env.step(still)
            return task.metrics(env).get("terrain_level")

        with task.evaluating(env):
            found["level_frozen"] = [before, level_after_episodes()]
        env.reset()
        found["level_begun"] = [before, task.metrics(env).get("terrain_level")]
        found["level_moving"] = [before, level_after_episodes()]
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print(json.dumps(explore(sys.argv[1])), flush=True)
