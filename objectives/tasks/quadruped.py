"""The embedded robot: many Unitree A1 on a flat floor, stepped at once by `mujoco.rollout`.

A task gives a `Motion` (what the robots are asked to do and what they earn); everything else
of the environment is here. Letters of shapes: `N` robots. Joints are in Isaac Lab's order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import mujoco
import mujoco.rollout
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from hpsearch.exceptions import Diverged

Array = npt.NDArray[np.float64]

MODEL_FILE = Path(__file__).with_name("a1.xml")
PHYSICS_STEPS = 4
ACTION_SCALE = 0.25
ACTION_BOUND = 100.0
CONTACT_NEWTONS = 1.0
"""A trunk or foot that presses harder than this on the floor touches it, as in Isaac Lab."""
LARGEST_STATE = 1e3
"""In m, m/s, rad or rad/s; a state beyond it, or not finite, has left physics."""
DEFAULT_JOINTS = np.array([0.1, -0.1, 0.1, -0.1, 0.8, 0.8, 1.0, 1.0, -1.5, -1.5, -1.5, -1.5])
START_HEIGHT = 0.31
JOINT_NOISE, SPEED_NOISE = 0.05, 0.05

_FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS


@dataclass
class Robots:
    """What a motion may look at: the robots after the latest control step.

    Attributes:
      velocity: `[N, 3]`, of the trunk, in its own frame, m/s.
      rotation: `[N, 3]`, angular velocity of the trunk, in its own frame, rad/s.
      gravity: `[N, 3]`, direction of gravity in the trunk's frame; (0, 0, -1) when upright.
      heading: `[N]`, of the trunk about the vertical, rad.
      joints: `[N, 12]`, angles relative to the default pose, rad.
      joint_speeds: `[N, 12]`, rad/s.
      joint_accelerations: `[N, 12]`, over the last physics step, rad/s^2.
      torques: `[N, 12]`, of the last physics step, N m.
      feet_down: `[N, 4]`, whether a foot touches the floor.
      actions: `[N, 12]`, as applied, that is after clipping.
      last_actions: `[N, 12]`, of the step before; zero at the start of an episode.
      commands: `[N, 3]`, velocity along x and y in m/s, yaw rate in rad/s.
      steps: `[N]`, control steps since the start of the episode.
    """

    velocity: Array
    rotation: Array
    gravity: Array
    heading: Array
    joints: Array
    joint_speeds: Array
    joint_accelerations: Array
    torques: Array
    feet_down: npt.NDArray[np.bool_]
    actions: Array
    last_actions: Array
    commands: Array
    steps: npt.NDArray[np.int64]

    @classmethod
    def at_rest(cls, num_envs: int) -> Robots:
        """Returns `num_envs` robots with every figure at zero."""
        three, twelve = (num_envs, 3), (num_envs, 12)
        return cls(
            velocity=np.zeros(three),
            rotation=np.zeros(three),
            gravity=np.zeros(three),
            heading=np.zeros(num_envs),
            joints=np.zeros(twelve),
            joint_speeds=np.zeros(twelve),
            joint_accelerations=np.zeros(twelve),
            torques=np.zeros(twelve),
            feet_down=np.zeros((num_envs, 4), dtype=bool),
            actions=np.zeros(twelve),
            last_actions=np.zeros(twelve),
            commands=np.zeros(three),
            steps=np.zeros(num_envs, dtype=np.int64),
        )


class Motion(Protocol):
    """What the robots are asked to do, and what they earn."""

    episode_seconds: float

    def start(self, robots: Robots, which: npt.NDArray[np.intp], rng: np.random.Generator) -> None:
        """Sets the commands of the robots `which` at the start of their episodes."""
        ...

    def follow(self, robots: Robots, rng: np.random.Generator) -> None:
        """Updates all commands after a step was rewarded and before it is observed."""
        ...

    def rewards(self, robots: Robots, seconds: float) -> Array:
        """Returns the rewards `[N]` of a control step that took `seconds`."""
        ...

    def metrics(self, robots: Robots) -> dict[str, float]:
        """Returns figures of the moment, averaged over the robots."""
        ...


class Quadruped(VecEnv):  # type: ignore[misc]
    """All robots as one Stable-Baselines3 VecEnv.

    An observation is `[48]`: trunk velocity, angular velocity and gravity (in the trunk's
    frame), commands, joint angles, joint speeds, last action. The joints' targets are the
    default pose plus 0.25 times the action, held for 20 ms.

    An episode ends when the trunk touches the floor, or when the state leaves physics: then
    the terminal observation is of the last good state and the reward is 0. Running out of time
    is a truncation. The same seed, number of robots and actions give the same bits.
    """

    def __init__(
        self,
        num_envs: int,
        seed: int,
        motion: Motion,
        *,
        action_low: Sequence[float] | None = None,
        action_high: Sequence[float] | None = None,
    ) -> None:
        model = mujoco.MjModel.from_xml_path(str(MODEL_FILE))
        n_threads = min(len(os.sched_getaffinity(0)), num_envs)
        self._rollout = mujoco.rollout.Rollout(nthread=n_threads if n_threads > 1 else 0)
        self._models = [model] * num_envs
        self._datas = [mujoco.MjData(model) for _ in range(n_threads)]

        joints = [model.joint(f"{model.actuator(i).name}_joint").id for i in range(model.nu)]
        self._joint_qpos = 1 + model.jnt_qposadr[joints]
        self._qvel = 1 + model.nq
        self._joint_qvel = self._qvel + model.jnt_dofadr[joints]
        self._home = np.zeros(mujoco.mj_stateSize(model, _FULL))
        mujoco.mj_getState(model, self._datas[0], self._home, _FULL)
        self._home[3] = START_HEIGHT
        self._home[self._joint_qpos] = DEFAULT_JOINTS

        self.step_seconds = PHYSICS_STEPS * model.opt.timestep
        self.robots = Robots.at_rest(num_envs)
        self.motion = motion
        self._episode_steps = round(motion.episode_seconds / self.step_seconds)
        self._state = np.tile(self._home, (num_envs, 1))
        self._states = np.empty((num_envs, PHYSICS_STEPS, self._home.size))
        self._sensors = np.empty((num_envs, PHYSICS_STEPS, model.nsensordata))
        self._targets = np.empty((num_envs, PHYSICS_STEPS, model.nu))

        low = np.full(12, -ACTION_BOUND) if action_low is None else np.asarray(action_low)
        high = np.full(12, ACTION_BOUND) if action_high is None else np.asarray(action_high)
        action_space = spaces.Box(low.astype(np.float32), high.astype(np.float32), (12,))
        self.render_mode = None
        super().__init__(num_envs, spaces.Box(-np.inf, np.inf, (48,), np.float32), action_space)
        self._rng = np.random.default_rng(seed)

    def reset(self) -> npt.NDArray[np.float32]:
        """Starts every episode anew and returns the observations `[N, 48]`."""
        if self._seeds[0] is not None:
            self._rng = np.random.default_rng(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self._start(np.arange(self.num_envs))
        return self._observations()

    def step_async(self, actions: npt.NDArray[np.floating[Any]]) -> None:
        """Takes the actions `[N, 12]`, clipped to the action space.

        Raises:
          Diverged: an action is not finite.
        """
        actions = np.asarray(actions, dtype=np.float64)
        if not np.isfinite(actions).all():
            raise Diverged(detail="the policy gave an action that is not finite")
        robots = self.robots
        robots.last_actions = robots.actions
        robots.actions = np.clip(actions, self.action_space.low, self.action_space.high)

    def step_wait(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_], list[Any]]:
        """Steps all robots by 20 ms; ended episodes start anew, as VecEnv wants it."""
        robots = self.robots
        self._targets[:] = (DEFAULT_JOINTS + ACTION_SCALE * robots.actions)[:, None]
        good = self._advance()
        robots.steps += 1
        rewards = np.where(good, self.motion.rewards(robots, self.step_seconds), 0.0)
        self.motion.follow(robots, self._rng)
        observations = self._observations()

        fell = (self._sensors[:, :, 0] > CONTACT_NEWTONS).any(axis=1) | ~good
        dones = fell | (robots.steps >= self._episode_steps)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = np.flatnonzero(dones)
        if ended.size:
            for i in ended:
                infos[i]["terminal_observation"] = observations[i].copy()
                infos[i]["TimeLimit.truncated"] = not fell[i]
            self._start(ended)
            observations[ended] = self._observations()[ended]
        return observations, rewards.astype(np.float32), dones, infos

    def _advance(self) -> npt.NDArray[np.bool_]:
        """Runs the physics of one control step; returns `[N]`, whether a state is still sane."""
        self._rollout.rollout(
            self._models,
            self._datas,
            self._state,
            self._targets,
            skip_checks=True,
            nstep=PHYSICS_STEPS,
            state=self._states,
            sensordata=self._sensors,
        )
        states = self._states
        # Written so that NaN is not good either.
        sane = np.abs(states[:, :, 1:]) < LARGEST_STATE
        good: npt.NDArray[np.bool_] = np.logical_and.reduce(sane, axis=(1, 2))
        if not good.all():
            states[~good] = self._state[~good, None]
            self._sensors[~good] = 0.0
        self._state[:] = states[:, -1]
        speeds = states[:, -2:, self._joint_qvel]
        robots = self.robots
        robots.joint_accelerations = (
            (speeds[:, 1] - speeds[:, 0]) * PHYSICS_STEPS / self.step_seconds
        )
        robots.feet_down = self._sensors[:, -1, 1:5] > CONTACT_NEWTONS
        robots.torques = self._sensors[:, -1, 5:17]
        self._look()
        return good

    def _look(self) -> None:
        """Refreshes what the robots' states say: speeds, gravity, heading and joints."""
        state, robots = self._state, self.robots
        w, x, y, z = state[:, 4:8].T
        # Rows of the rotation from the trunk's frame to the world's.
        forward = np.stack((1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)), 1)
        left = np.stack((2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)), 1)
        up = np.stack((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)), 1)
        speed = state[:, self._qvel : self._qvel + 3, None]
        robots.velocity = speed[:, 0] * forward + speed[:, 1] * left + speed[:, 2] * up
        robots.rotation = state[:, self._qvel + 3 : self._qvel + 6].copy()
        robots.gravity = -up
        robots.heading = np.arctan2(left[:, 0], forward[:, 0])
        robots.joints = state[:, self._joint_qpos] - DEFAULT_JOINTS
        robots.joint_speeds = state[:, self._joint_qvel]

    def _start(self, which: npt.NDArray[np.intp]) -> None:
        """Puts the robots `which` at the start of an episode: a default pose with noise."""
        rng, n, robots = self._rng, which.size, self.robots
        state = np.tile(self._home, (n, 1))
        yaw = rng.uniform(-np.pi, np.pi, n)
        state[:, 4], state[:, 7] = np.cos(yaw / 2), np.sin(yaw / 2)
        state[:, self._joint_qpos] += rng.uniform(-JOINT_NOISE, JOINT_NOISE, (n, 12))
        state[:, self._qvel : self._qvel + 18] = rng.uniform(-SPEED_NOISE, SPEED_NOISE, (n, 18))
        self._state[which] = state
        robots.steps[which] = 0
        for figure in (robots.actions, robots.last_actions, robots.torques):
            figure[which] = 0.0
        robots.joint_accelerations[which] = 0.0
        robots.feet_down[which] = False
        self._look()
        self.motion.start(robots, which, rng)

    def _observations(self) -> npt.NDArray[np.float32]:
        robots = self.robots
        trunk = (robots.velocity, robots.rotation, robots.gravity, robots.commands)
        joints = (robots.joints, robots.joint_speeds, robots.actions)
        return np.concatenate((*trunk, *joints), axis=1, dtype=np.float32)

    def close(self) -> None:
        """Ends the simulator's threads."""
        self._rollout.close()

    def _indices(self, indices: Any) -> list[int]:
        return list(self._get_indices(indices))

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Returns an attribute of the whole, once for every robot asked for."""
        return [getattr(self, attr_name) for _ in self._indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Sets an attribute of the whole; robots have none of their own."""
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Calls a method of the whole once and returns its result for every robot asked for."""
        result = getattr(self, method_name)(*args, **kwargs)
        return [result for _ in self._indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Returns False for every robot asked for."""
        return [False for _ in self._indices(indices)]


@contextmanager
def open_quadruped(
    num_envs: int,
    seed: int,
    motion: Motion,
    *,
    action_low: Sequence[float] | None,
    action_high: Sequence[float] | None,
) -> Iterator[Quadruped]:
    """Opens the robots; the context's end stops the simulator's threads."""
    env = Quadruped(num_envs, seed, motion, action_low=action_low, action_high=action_high)
    try:
        yield env
    finally:
        env.close()
