"""The replay buffer against Stable-Baselines3's own, on the device and on the host."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from hpsearch.objectives.device import prepare_jax

pytestmark = [pytest.mark.filterwarnings("ignore:jax\\.:DeprecationWarning")]

N_ENVS, ROWS, OBS, ACT, GAMMA = 3, 7, 2, 1, 0.9


class Blank(gymnasium.Env):  # type: ignore[misc]
    """Is never stepped."""

    observation_space = spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
    action_space = spaces.Box(-1, 1, (ACT,), np.float32)


def transitions(step: int) -> Any:
    """Returns `[N, W]` of one step; environment 0 ends every 4 steps, 1 is cut every 3."""
    rng = np.random.default_rng(step)
    made = rng.normal(size=(N_ENVS, 2 * OBS + ACT + 3)).astype(np.float32)
    made[:, -2:] = 0.0
    made[0, -2] = step % 4 == 3
    made[1, -2:] = step % 3 == 2
    return made


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("n_written", [5, 17])
@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
def test_every_transition_is_what_stock_gives(
    n_steps: int, n_written: int, on_host: bool, normalized: bool
) -> None:
    prepare_jax()
    import jax.numpy as jnp
    from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

    from hpsearch.objectives.observations import RunningStatistics
    from hpsearch.objectives.replay_buffer import Filling, Layout, insert, read

    kinds: dict[bool, Any] = {False: ReplayBuffer, True: NStepReplayBuffer}
    more = {"n_steps": n_steps, "gamma": GAMMA} if n_steps > 1 else {}
    stock = kinds[n_steps > 1](
        ROWS * N_ENVS, Blank.observation_space, Blank.action_space, n_envs=N_ENVS, device="cpu",
        **more,
    )  # fmt: skip
    layout = Layout(
        num_envs=N_ENVS, rows=ROWS, observation_dim=OBS, action_dim=ACT, n_steps=n_steps
    )
    xp: Any = np if on_host else jnp
    table = xp.zeros((ROWS * N_ENVS, layout.width), np.float32)
    for step in range(n_written):
        new = transitions(step)
        infos = [{"TimeLimit.truncated": bool(row[-1])} for row in new]
        seen, did, follows = np.split(new[:, :-3], [OBS, OBS + ACT], axis=1)
        stock.add(seen, follows, did, new[:, -3], new[:, -2], infos)
        if on_host:
            first = step % ROWS * N_ENVS
            table[first : first + N_ENVS] = new
        else:
            table = insert(table, new, np.int32(step % ROWS))
    written = min(n_written, ROWS)
    filling = Filling(np.int32(written), np.int32((n_written - 1) % ROWS))
    running = RunningStatistics(OBS, used=normalized)
    normalize = VecNormalize(DummyVecEnv([Blank]), norm_reward=False)
    for step in range(n_written):
        running.see(transitions(step)[:, :OBS])
        normalize.obs_rms.update(transitions(step)[:, :OBS])
    for env in range(N_ENVS):
        rows = np.arange(written)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np.random, "randint", lambda *_, size, env=env, **__: np.full(size, env))
            theirs = stock._get_samples(rows, env=normalize if normalized else None)
        ours = read(table, layout, filling, running.now, GAMMA, rows, np.full(written, env), xp)
        seen, follows = theirs.observations.numpy(), theirs.next_observations.numpy()
        np.testing.assert_allclose(ours.observations, seen, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ours.actions, theirs.actions.numpy())
        np.testing.assert_allclose(ours.next_observations, follows, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ours.terminals, theirs.dones.numpy()[:, 0])
        np.testing.assert_allclose(ours.rewards, theirs.rewards.numpy()[:, 0], rtol=1e-5)
        if n_steps > 1:
            np.testing.assert_allclose(ours.discounts, theirs.discounts.numpy()[:, 0], rtol=1e-5)


def test_observations_are_normalised_and_clipped_as_they_are_read() -> None:
    from hpsearch.objectives.replay_buffer import Statistics, normalised

    statistics = Statistics(np.array([1.0, 0.0]), np.array([0.5, 1.0]), 10.0)
    seen = normalised(np.array([[3.0, -99.0]]), statistics, np)
    np.testing.assert_array_equal(seen, [[1.0, -10.0]])
