"""The embedded robot: its model, its simulator and the two tasks on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hpsearch.exceptions import Diverged, WrongSettings
from hpsearch.plugins import load_task
from hpsearch.testing import TaskContract

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("stable_baselines3")

from hpsearch.objectives.tasks import quadruped as simulator  # noqa: E402
from hpsearch.objectives.tasks.quadruped import DEFAULT_JOINTS, Quadruped, Robots  # noqa: E402
from hpsearch.objectives.tasks.quadruped_velocity import (  # noqa: E402
    Follow,
    QuadrupedVelocity,
)
from hpsearch.objectives.tasks.quadruped_walk import (  # noqa: E402
    JOINT_NAMES,
    QuadrupedWalk,
    Walk,
)

LEGS = ("FL", "FR", "RL", "RR")
SEGMENTS = [
    "trunk",
    *(f"{leg}_{part}" for leg in LEGS for part in ("hip", "thigh", "calf", "foot")),
]


@pytest.fixture(scope="module")
def model() -> Any:
    return mujoco.MjModel.from_xml_path(str(simulator.MODEL_FILE))


@pytest.fixture
def walk() -> Iterator[Quadruped]:
    with QuadrupedWalk().make(4, seed=3) as env:
        yield env


def joint_addresses(model: Any) -> npt.NDArray[np.int64]:
    return np.array([model.joint(f"{name}_joint").qposadr[0] for name in JOINT_NAMES])


def random_robots(n: int = 5) -> Robots:
    rng = np.random.default_rng(0)
    robots = Robots.at_rest(n)
    for name, value in vars(robots).items():
        if value.dtype == np.float64:
            setattr(robots, name, rng.normal(size=value.shape))
    return robots


def tip_over(env: Quadruped, robot: int) -> None:
    """Lays one robot on its back, just above the floor."""
    env._state[robot, 3:8] = (0.06, 0.0, 1.0, 0.0, 0.0)


# --- the model


def test_joints_and_actuators_are_in_isaacs_order(model: Any) -> None:
    expected = [f"{leg}_{joint}" for joint in ("hip", "thigh", "calf") for leg in LEGS]
    assert [model.actuator(i).name for i in range(model.nu)] == expected
    assert list(JOINT_NAMES) == expected
    for i, name in enumerate(expected):
        assert model.actuator(i).trnid[0] == model.joint(f"{name}_joint").id


def test_masses_dimensions_and_limits_are_the_published_ones(model: Any) -> None:
    assert model.body_mass.sum() == pytest.approx(4.713 + 4 * (0.696 + 1.013 + 0.166 + 0.06))
    np.testing.assert_allclose(model.body("FL_hip").pos, (0.183, 0.047, 0))
    np.testing.assert_allclose(model.body("RR_hip").pos, (-0.183, -0.047, 0))
    np.testing.assert_allclose(model.body("RL_thigh").pos, (0, 0.0838, 0))
    np.testing.assert_allclose(model.body("FR_calf").pos, (0, 0, -0.2))
    np.testing.assert_allclose(model.body("FR_foot").pos, (0, 0, -0.2))
    np.testing.assert_allclose(model.joint("FR_hip_joint").range, (-0.802, 0.802))
    np.testing.assert_allclose(model.joint("FR_thigh_joint").range, (-1.047, 4.188))
    np.testing.assert_allclose(model.joint("FR_calf_joint").range, (-2.697, -0.916))
    np.testing.assert_allclose(model.actuator_forcerange, [[-33.5, 33.5]] * 12)
    np.testing.assert_allclose(model.actuator_gainprm[:, 0], 25)
    np.testing.assert_allclose(model.actuator_biasprm[:, 1:3], [[-25, -0.5]] * 12)


@pytest.mark.parametrize("segment", SEGMENTS)
def test_every_segment_collides_with_the_floor(model: Any, segment: str) -> None:
    data = mujoco.MjData(model)
    data.qpos[joint_addresses(model)] = DEFAULT_JOINTS
    data.qpos[2] = 1.0
    mujoco.mj_forward(model, data)
    assert data.ncon == 0
    data.qpos[2] -= data.geom(segment).xpos[2]  # the segment's centre is now in the floor
    mujoco.mj_forward(model, data)
    touching = {model.geom(i).name for contact in data.contact for i in contact.geom}
    assert segment in touching
    assert all(model.geom("floor").id in contact.geom for contact in data.contact)


def test_a_kneeling_robot_rests_on_its_knees_not_below_the_floor(model: Any) -> None:
    data = mujoco.MjData(model)
    pose = np.repeat((0.0, 0.3, -2.6), 4)  # the calves folded away, in front of the thighs
    data.qpos[joint_addresses(model)] = data.ctrl[:] = pose
    data.qpos[2] = 0.3
    lowest_knee = 1.0
    for _ in range(400):
        mujoco.mj_step(model, data)
        knees = [data.body(f"{leg}_calf").xpos[2] for leg in LEGS]
        lowest_knee = min(lowest_knee, *knees)
    assert lowest_knee > 0.0
    np.testing.assert_allclose(knees, 0.017, atol=0.003)  # a thigh's radius


# --- the simulator


def test_an_observation_is_what_single_stepping_gives(model: Any) -> None:
    rng = np.random.default_rng(1)
    with QuadrupedWalk().make(3, seed=5) as env:
        env.reset()
        robot, data = 1, mujoco.MjData(model)
        mujoco.mj_setState(model, data, env._state[robot], mujoco.mjtState.mjSTATE_FULLPHYSICS)
        for _ in range(10):
            actions = rng.uniform(-1, 1, (3, 12))
            observations, *_ = env.step(actions)
            data.ctrl[:] = DEFAULT_JOINTS + 0.25 * actions[robot]
            for _ in range(4):
                data.qacc_warmstart[:] = 0
                mujoco.mj_step(model, data)
        mujoco.mj_forward(model, data)
        rotation = data.body("trunk").xmat.reshape(3, 3)
        addresses = joint_addresses(model)
        expected = np.concatenate(
            (
                rotation.T @ data.qvel[:3],
                data.qvel[3:6],
                rotation.T @ (0.0, 0.0, -1.0),
                (0.8, 0.0, 0.0),
                data.qpos[addresses] - DEFAULT_JOINTS,
                data.qvel[addresses - 1],
                actions[robot],
            )
        )
        assert observations.shape == (3, 48)
        np.testing.assert_allclose(observations[robot], expected, atol=1e-4)
        heading = np.arctan2(rotation[1, 0], rotation[0, 0])
        assert env.robots.heading[robot] == pytest.approx(heading, abs=1e-4)
        np.testing.assert_allclose(env.robots.torques[robot], data.actuator_force, atol=2.0)
        assert np.abs(env.robots.torques).max() <= 33.5


def test_standing_still_lasts_the_episode_and_is_cut_by_time(walk: Quadruped) -> None:
    walk.reset()
    returns = np.zeros(4)
    for step in range(250):
        _, rewards, dones, infos = walk.step(np.zeros((4, 12)))
        returns += rewards
        assert dones.all() == (step == 249)
    assert returns == pytest.approx(4.7, abs=0.25)
    assert all(info["TimeLimit.truncated"] for info in infos)
    assert (walk.robots.steps == 0).all()


def test_the_terminal_observation_is_the_one_before_the_new_start(walk: Quadruped) -> None:
    walk.reset()
    walk.robots.steps[2] = 249
    actions = np.full((4, 12), 0.3)
    observations, _, dones, infos = walk.step(actions)
    assert dones.tolist() == [False, False, True, False]
    terminal = infos[2]["terminal_observation"]
    np.testing.assert_allclose(terminal[36:], 0.3, rtol=1e-6)  # the action that was taken
    assert (observations[2, 36:] == 0).all()  # a new episode has no last action
    assert not np.allclose(terminal[12:36], observations[2, 12:36])
    assert not infos[0] and not infos[1] and not infos[3]


def test_trunk_contact_ends_the_episode_and_is_no_truncation(walk: Quadruped) -> None:
    walk.reset()
    tip_over(walk, 1)
    for _ in range(10):
        _, _, dones, infos = walk.step(np.zeros((4, 12)))
        if dones.any():
            break
    assert dones.tolist() == [False, True, False, False]
    assert infos[1]["TimeLimit.truncated"] is False
    assert infos[1]["terminal_observation"][8] > 0.9  # gravity points out of its back


def test_a_fall_in_the_last_step_is_no_truncation(walk: Quadruped) -> None:
    walk.reset()
    tip_over(walk, 0)
    walk.robots.steps[0] = 249
    walk._state[0, 3] = 0.05
    _, _, dones, infos = walk.step(np.zeros((4, 12)))
    assert dones[0]
    assert infos[0]["TimeLimit.truncated"] is False


def test_a_state_that_is_not_finite_ends_the_episode_with_the_last_good_observation(
    walk: Quadruped, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = walk.reset()
    inner = walk._rollout

    class BlowsUp:
        def rollout(self, *args: Any, state: Any, **kwargs: Any) -> None:
            inner.rollout(*args, state=state, **kwargs)
            state[3, 2:] = np.nan
            state[1, 3, 25] = 1e7

    monkeypatch.setattr(walk, "_rollout", BlowsUp())
    observations, rewards, dones, infos = walk.step(np.zeros((4, 12)))
    assert dones.tolist() == [False, True, False, True]
    assert rewards[1] == rewards[3] == 0.0
    for robot in (1, 3):
        assert infos[robot]["TimeLimit.truncated"] is False
        np.testing.assert_allclose(infos[robot]["terminal_observation"], before[robot])
    assert np.isfinite(observations).all()
    monkeypatch.setattr(walk, "_rollout", inner)
    observations, *_ = walk.step(np.zeros((4, 12)))
    assert np.isfinite(observations).all()


def test_an_action_that_is_not_finite_is_the_policys_fault(walk: Quadruped) -> None:
    walk.reset()
    actions = np.zeros((4, 12))
    actions[2, 5] = np.nan
    with pytest.raises(Diverged, match="not finite"):
        walk.step(actions)


def test_actions_are_clipped_to_the_limits() -> None:
    low, high = [-0.5] * 12, [0.25] * 11 + [2.0]
    with QuadrupedWalk().make(2, 0, action_low=low, action_high=high) as env:
        np.testing.assert_allclose(env.action_space.low, low)
        np.testing.assert_allclose(env.action_space.high, high)
        env.reset()
        observations, *_ = env.step(np.stack((np.full(12, 9.0), np.full(12, -9.0))))
        np.testing.assert_allclose(observations[0, 36:], high)
        np.testing.assert_allclose(observations[1, 36:], low)
        np.testing.assert_allclose(env._targets[1, 0], DEFAULT_JOINTS - 0.125)


def test_the_raw_action_box_is_100_wide_to_each_side(walk: Quadruped) -> None:
    assert (walk.action_space.low == -100).all()
    assert (walk.action_space.high == 100).all()
    assert walk.action_space.shape == (12,)


def test_the_same_seed_and_actions_give_the_same_bits(walk: Quadruped) -> None:
    def record() -> list[npt.NDArray[np.float32]]:
        rng = np.random.default_rng(0)
        walk.seed(11)
        seen = [walk.reset()]
        for _ in range(120):
            observations, rewards, *_ = walk.step(rng.uniform(-3, 3, (4, 12)))
            seen += [observations, rewards]
        return seen

    first, again = record(), record()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    unseeded = walk.reset()
    assert not np.array_equal(first[0], unseeded)


def test_the_seed_of_make_is_that_of_the_first_reset() -> None:
    first = []
    for seed in (1, 1, 2):
        with QuadrupedWalk().make(2, seed) as env:
            first.append(env.reset())
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


def test_one_robot_alone_moves_as_it_does_among_many() -> None:
    with QuadrupedWalk().make(1, seed=0) as alone, QuadrupedWalk().make(5, seed=0) as many:
        assert alone.reset().shape == (1, 48)
        many.reset()
        alone._state[0] = many._state[2]
        actions = np.random.default_rng(0).uniform(-1, 1, (5, 12))
        for _ in range(20):
            one, reward, *_ = alone.step(actions[2:3])
            observations, rewards, *_ = many.step(actions)
        assert np.array_equal(one[0], observations[2])
        assert reward[0] == rewards[2]
        assert one.dtype == reward.dtype == np.float32


def test_robots_wear_the_wrappers_of_stable_baselines3() -> None:
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

    class Standing:
        def predict(self, observations: Any, **_: Any) -> tuple[Any, None]:
            return np.zeros((len(observations), 12)), None

    task = QuadrupedWalk()
    with task.make(8, seed=0) as robots:
        env = VecNormalize(VecMonitor(robots), norm_reward=False)
        returns, lengths = evaluate_policy(Standing(), env, 8, return_episode_rewards=True)
        assert lengths == [250] * 8
        assert np.mean(returns) == pytest.approx(4.7, abs=0.25)
        assert abs(task.metrics(env)["forward_speed"]) < 0.2


# --- the tasks


class TestQuadrupedWalk(TaskContract):
    def make_task(self) -> QuadrupedWalk:
        return QuadrupedWalk()


class TestQuadrupedVelocity(TaskContract):
    def make_task(self) -> QuadrupedVelocity:
        return QuadrupedVelocity(commands="full")


def test_the_reward_of_walking_is_the_sum_of_its_terms() -> None:
    robots = random_robots()
    got = Walk().rewards(robots, 0.02)
    for i in range(5):
        expected = 4 * min(max(robots.velocity[i, 0], -1.0), 1.0) + 0.5
        expected += 0.5 * np.exp(-((robots.rotation[i, 2] - robots.commands[i, 2]) ** 2) / 0.25)
        expected -= robots.gravity[i, 0] ** 2 + robots.gravity[i, 1] ** 2
        expected -= 0.5 * robots.velocity[i, 2] ** 2
        expected -= 0.05 * (robots.rotation[i, 0] ** 2 + robots.rotation[i, 1] ** 2)
        expected -= 2e-4 * sum(torque**2 for torque in robots.torques[i])
        expected -= 2e-3 * sum((robots.actions[i] - robots.last_actions[i]) ** 2)
        assert got[i] == pytest.approx(0.02 * expected)


def test_the_reward_of_following_is_the_sum_of_its_terms() -> None:
    robots = random_robots()
    robots.commands[4, :2] = 0.0  # not commanded: landing earns nothing
    robots.feet_down[:] = [[True, False, True, False]] * 5
    motion = Follow("forward", 5)
    motion.air_seconds[:] = [[0.68, 0.3, 0.0, 0.0]] * 5
    got = motion.rewards(robots, 0.02)
    for i in range(5):
        error = robots.commands[i] - np.append(robots.velocity[i, :2], robots.rotation[i, 2])
        expected = 1.5 * np.exp(-(error[0] ** 2 + error[1] ** 2) / 0.25)
        expected += 0.75 * np.exp(-(error[2] ** 2) / 0.25)
        expected -= 2 * robots.velocity[i, 2] ** 2
        expected -= 0.05 * (robots.rotation[i, 0] ** 2 + robots.rotation[i, 1] ** 2)
        expected -= 2e-4 * (robots.torques[i] ** 2).sum()
        expected -= 2.5e-7 * (robots.joint_accelerations[i] ** 2).sum()
        expected -= 0.01 * ((robots.actions[i] - robots.last_actions[i]) ** 2).sum()
        expected += 0.25 * (0.7 - 0.5) if i < 4 else 0.0
        expected -= 2.5 * (robots.gravity[i, 0] ** 2 + robots.gravity[i, 1] ** 2)
        assert got[i] == pytest.approx(0.02 * expected)
    np.testing.assert_allclose(motion.air_seconds, [[0.0, 0.32, 0.0, 0.02]] * 5)


def test_commands_steer_to_a_heading_and_change_after_ten_seconds() -> None:
    rng, robots, motion = np.random.default_rng(0), Robots.at_rest(2000), Follow("forward", 2000)
    motion.start(robots, np.arange(2000), rng)
    moving = ~motion.standing
    assert 0.005 < motion.standing.mean() < 0.04
    assert (robots.commands[motion.standing] == 0).all()
    assert robots.commands[moving, 0].min() >= 0.5
    assert robots.commands[moving, 0].max() <= 1.0
    assert (robots.commands[:, 1] == 0).all()
    expected = np.clip(0.5 * motion.headings, -1, 1)
    np.testing.assert_allclose(robots.commands[moving, 2], expected[moving], atol=1e-12)

    before = robots.commands.copy()
    robots.steps[:] = 499
    motion.follow(robots, rng)
    np.testing.assert_array_equal(robots.commands, before)
    robots.steps[:1000] = 500
    motion.follow(robots, rng)
    np.testing.assert_array_equal(robots.commands[1000:], before[1000:])
    assert (robots.commands[:1000] != before[:1000]).any(axis=1).mean() > 0.95


def test_full_commands_point_everywhere() -> None:
    rng, robots, motion = np.random.default_rng(0), Robots.at_rest(500), Follow("full", 500)
    motion.start(robots, np.arange(500), rng)
    for axis in (0, 1):
        assert robots.commands[:, axis].min() < -0.9
        assert robots.commands[:, axis].max() > 0.9


def test_velocity_episodes_last_twenty_seconds_and_tell_their_errors() -> None:
    task = load_task("quadruped-velocity", {"commands": "full"})
    with task.make(2, seed=0, action_low=None, action_high=None) as env:
        env.reset()
        env.robots.steps[:] = 998
        assert not env.step(np.zeros((2, 12)))[2].any()
        assert env.step(np.zeros((2, 12)))[2].all()
        metrics = task.metrics(env)
    assert set(metrics) == {"velocity_error", "yaw_rate_error"}


@pytest.mark.parametrize(
    ("name", "settings", "problem"),
    [
        ("quadruped-walk", {"speed": "2"}, "no arguments"),
        ("quadruped-velocity", {"speed": "2"}, "speed"),
        ("quadruped-velocity", {"commands": "sideways"}, "forward or full"),
    ],
)
def test_a_wrong_setting_is_refused(name: str, settings: dict[str, str], problem: str) -> None:
    with pytest.raises(WrongSettings, match=problem):
        load_task(name, settings)


def test_importing_a_task_imports_no_simulator() -> None:
    program = (
        "import sys\n"
        "from hpsearch.plugins import load_task\n"
        "for name in ('quadruped-walk', 'quadruped-velocity'):\n"
        "    task = load_task(name, {})\n"
        "    assert len(task.action_names) == 12 and task.default_limits == 'a1'\n"
        "print(*{'mujoco', 'stable_baselines3', 'torch', 'gymnasium'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
