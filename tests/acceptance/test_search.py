"""Whole searches by the installed command, with real processes and signals."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import (
    SPHERE,
    Command,
    children_of,
    eventually,
    interrupt,
    workers_of,
)

SLOW = (*SPHERE, "seconds=1.0")


@pytest.mark.wheel
def test_a_search_a_look_at_it_and_a_replay(hpsearch: Command) -> None:
    said = hpsearch("launch", *SPHERE, "--trials", "6")
    assert "study sphere-sphere (new)" in said
    assert "6 of 6 finished" in said and "one seed, not validated" in said

    trials = hpsearch.json("trials")
    assert [trial["number"] for trial in trials] == list(range(6))
    for trial in trials:
        assert trial["state"] == "finished"
        assert trial["num_timesteps"] > 0 and trial["train_seconds"] > 0
        assert set(trial["params"]) == set(trial["hyperparams"]) == {"x0", "x1", "x2", "n"}
        assert 0 < sum(trial["ledger"].values()) <= trial["wall_seconds"]

    best = max(trials, key=lambda trial: trial["value"])
    said = hpsearch("replay", "--trial", "best", "--seeds", "3")
    assert f"replay of trial {best['number']}" in said and "95 % interval" in said
    assert "3 seed(s)" in hpsearch("show", str(best["number"]))
    assert "6 of 6" in hpsearch("status") and "6 of 6" in hpsearch("studies")
    assert "6 of 6 finished" in hpsearch("watch")


def test_a_later_launch_raises_the_number_of_trials(hpsearch: Command) -> None:
    hpsearch("launch", *SPHERE, "--trials", "2")
    assert "resumed" in hpsearch("launch", *SPHERE, "--trials", "4")
    assert len(hpsearch.json("trials")) == 4


def test_a_replay_that_has_its_results_trains_nothing(hpsearch: Command, data_dir: Path) -> None:
    hpsearch("launch", *SPHERE, "--trials", "2")
    first = hpsearch("replay", "--trial", "0", "--seeds", "2")
    logs = set((data_dir / "logs" / "workers").iterdir())
    again = hpsearch("replay", "--trial", "0", "--seeds", "2")
    assert set((data_dir / "logs" / "workers").iterdir()) == logs
    assert again.splitlines()[:4] == first.splitlines()[:4]


def test_the_worker_is_killed_and_the_same_command_ends_with_exactly_n(
    hpsearch: Command, data_dir: Path
) -> None:
    command = ("launch", *SLOW, "--trials", "6")
    launch = hpsearch.start(*command)
    eventually(lambda: workers_of(data_dir) and len(hpsearch.json("trials")) >= 2)
    launch.kill()
    (worker,) = workers_of(data_dir)
    children = eventually(lambda: children_of(worker))
    worker.kill()
    eventually(lambda: not any(child.is_running() for child in children), 5)
    hpsearch(*command)
    trials = hpsearch.json("trials")
    assert [trial["number"] for trial in trials] == list(range(6))
    assert {trial["state"] for trial in trials} == {"finished"}
    assert sum(trial["attempts"] for trial in trials) == 7


def test_launch_replaces_a_worker_that_was_killed(hpsearch: Command, data_dir: Path) -> None:
    launch = hpsearch.start("launch", *SLOW, "--trials", "4")
    (worker,) = eventually(lambda: workers_of(data_dir))
    eventually(lambda: children_of(worker))
    worker.kill()
    out, err = launch.communicate(timeout=90)
    assert launch.returncode == 0, err
    assert "4 of 4 finished" in out


def test_launch_stays_for_a_worker_that_somebody_else_started_here(
    hpsearch: Command, data_dir: Path
) -> None:
    hpsearch("launch", *SLOW, "--trials", "12", "--workers", "0", "--study", "s")
    for _ in range(2):
        hpsearch.start("worker", "--study", "s")
    # One dies, so that it is not seen any more long before the other is done.
    killed, _ = eventually(lambda: len(found := workers_of(data_dir)) == 2 and found)
    eventually(lambda: children_of(killed))
    killed.kill()
    assert "12 of 12 finished" in hpsearch("launch", "--study", "s")
    eventually(lambda: not workers_of(data_dir), 10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_an_interrupted_launch_leaves_nothing_running_and_resumes(
    hpsearch: Command, data_dir: Path, number: int
) -> None:
    command = ("launch", *SLOW, "--trials", "3")
    launch = hpsearch.start(*command)
    (worker,) = eventually(lambda: workers_of(data_dir))
    eventually(lambda: children_of(worker))
    before = time.monotonic()
    said = interrupt(launch, number)
    assert launch.returncode == 130 and "the same command resumes" in said
    assert time.monotonic() - before < 8
    assert not workers_of(data_dir)
    assert "3 of 3 finished" in hpsearch(*command)
    assert all(trial["state"] == "finished" for trial in hpsearch.json("trials"))


def test_a_detached_launch_goes_on_and_stop_ends_it(hpsearch: Command, data_dir: Path) -> None:
    said = hpsearch("launch", *SPHERE, "seconds=60", "--budget", "60s", "--detach")
    assert "hpsearch watch" in said
    eventually(lambda: [trial["state"] for trial in hpsearch.json("trials")] == ["leased"])
    hpsearch("stop", "--now")
    eventually(lambda: not workers_of(data_dir), 15)
    assert "stopped: now" in hpsearch("status")
    assert [trial["state"] for trial in hpsearch.json("trials")] == ["waiting"]


def test_two_launches_at_once_share_the_study(hpsearch: Command, data_dir: Path) -> None:
    command = ("launch", *SPHERE, "seconds=0.5", "--trials", "6", "--workers", "2")
    launches = [hpsearch.start(*command), hpsearch.start(*command)]
    for launch in launches:
        _, err = launch.communicate(timeout=90)
        assert launch.returncode == 0, err
    trials = hpsearch.json("trials")
    assert [trial["number"] for trial in trials] == list(range(6))


def test_runs_that_fail_for_the_same_reason_stop_the_study(
    hpsearch: Command, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("def objective(*_, **__):\n    raise RuntimeError('no')\n")
    said = hpsearch(
        "launch", "--objective", "broken:objective", "--space", "sphere", status=1, timeout=200
    )
    assert "crashed:RuntimeError" in said and "are missing" in said


def test_a_users_own_task_and_space_work_by_name(hpsearch: Command, tmp_path: Path) -> None:
    pytest.importorskip("sbx", reason="training needs the extra rl")
    (tmp_path / "mine.py").write_text(OWN)
    said = hpsearch(
        *("launch", "--task", "mine:Reach", "--space", "mine:SPACE", "goal=0.5"),
        *("--trials", "2", "--popsize", "4", "--budget", "2s", "--eval-episodes", "8"),
        timeout=200,
    )
    assert "2 of 2 finished" in said
    trials = hpsearch.json("trials")
    assert set(trials[0]["params"]) == {"learning_rate", "batch_size_pow"}
    assert trials[0]["hyperparams"]["batch_size"] == 2 ** trials[0]["params"]["batch_size_pow"]


OWN = '''
"""A point that walks along a line to a goal, and a space of two parameters."""
from contextlib import contextmanager

from optuna.distributions import FloatDistribution, IntDistribution

from hpsearch.base import Budget


class Reach:
    default_space = "mine:SPACE"
    default_budget = Budget(train_seconds=5.0, n_eval_episodes=16)
    default_num_envs = 4
    default_limits = "none"
    action_names = ("step",)
    normalize_observations = False
    metric_names = ()

    def __init__(self, goal="1.0"):
        self.goal = float(goal)

    @contextmanager
    def make(self, num_envs, seed, *, action_low, action_high):
        import gymnasium
        import numpy as np
        from stable_baselines3.common.vec_env import DummyVecEnv

        goal = self.goal

        class Line(gymnasium.Env):
            observation_space = gymnasium.spaces.Box(-10, 10, (1,), np.float32)
            action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

            def reset(self, seed=None, options=None):
                super().reset(seed=seed)
                self.x, self.t = 0.0, 0
                return np.array([self.x], np.float32), {}

            def step(self, action):
                self.x, self.t = float(np.clip(self.x + action[0] / 10, -9, 9)), self.t + 1
                reward = -abs(self.x - goal)
                return np.array([self.x], np.float32), reward, False, self.t >= 20, {}

        env = DummyVecEnv([Line for _ in range(num_envs)])
        env.seed(seed)
        try:
            yield env
        finally:
            env.close()

    def metrics(self, env):
        return {}


class Space:
    distributions = {
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "batch_size_pow": IntDistribution(4, 6),
    }

    def decode(self, params):
        return {
            "learning_rate": params["learning_rate"],
            "batch_size": 2 ** params["batch_size_pow"],
            "buffer_size": 10_000,
            "learning_starts": 40,
            "net_arch": [32],
        }


SPACE = Space()
'''


def test_the_child_may_run_in_another_interpreter(hpsearch: Command, tmp_path: Path) -> None:
    import venv

    venv.create(tmp_path / "other", symlinks=True)
    python = tmp_path / "other" / "bin" / "python"
    assert python.resolve() == Path(sys.executable).resolve()
    (tmp_path / "where.py").write_text(WHERE)
    said = hpsearch(
        *("launch", "--objective", "where:objective", "--space", "sphere", "--trials", "1"),
        *("--python", str(python)),
    )
    assert "1 of 1 finished" in said


WHERE = """
import sys

from hpsearch.base import TrialResult

try:
    from optuna.distributions import BaseDistribution
    alone = 0.0
except ImportError:
    alone = 1.0


def objective(hyperparams, *, seed, budget, report):
    assert alone, "the other interpreter sees our site-packages"
    return TrialResult(
        mean_reward=alone, std_reward=0.0, num_timesteps=1, n_updates=0, train_seconds=0.1,
        overshoot_seconds=0.0, cpu_seconds=0.0, metrics={}, ledger={}, device=sys.prefix,
    )
"""
