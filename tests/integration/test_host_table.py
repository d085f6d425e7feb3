"""A replay table that does not fit the device: when it stays on the host, and what it draws."""

from __future__ import annotations

import numpy as np
import pytest

from hpsearch.base import Budget
from hpsearch.objectives.device import prepare_jax
from hpsearch.objectives.training import Training
from tests.integration.test_training import TINY, setup

pytestmark = [pytest.mark.filterwarnings("ignore:jax\\.:DeprecationWarning")]


def test_batches_travel_together_up_to_a_cap() -> None:
    from hpsearch.objectives.programs import HOST_CHUNK_BYTES, host_chunk
    from hpsearch.objectives.replay_buffer import Layout

    layout = Layout(num_envs=4096, rows=256, observation_dim=48, action_dim=12, n_steps=1)
    batch_bytes = 4 * 4096 * (48 + 12 + 48 + 3)
    chunk = host_chunk(layout, 4096, 1024)
    assert HOST_CHUNK_BYTES == 32 * 2**20
    assert chunk * batch_bytes <= HOST_CHUNK_BYTES < (chunk + 1) * batch_bytes
    assert host_chunk(layout, 64, 8) == 8
    assert host_chunk(layout, 2**20, 1024) == 1


@pytest.mark.parametrize("n_steps", [1, 3])
def test_a_table_that_does_not_fit_stays_on_the_host(
    n_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_jax()
    from hpsearch.objectives import off_policy

    monkeypatch.setattr(off_policy, "fits_device", lambda _: False)
    training = Training(setup("Pendulum-v1"))
    hyperparams = {**TINY, "n_steps": n_steps, "gradient_steps": 70}
    budget = Budget(train_seconds=60.0, max_timesteps=100, n_eval_episodes=2)
    try:
        result = training(hyperparams, seed=1, budget=budget, report=lambda _: None)
    finally:
        training.close()
    assert result.conditions["replay"] == "host"
    assert result.conditions["compilations"] == 0
    # 25 steps of 4 environments, of which 16 learn nothing; after the last none follows.
    assert result.n_updates == 8 * 70


def test_a_device_that_tells_its_memory_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_jax()
    from hpsearch.objectives import memory

    class Device:
        platform = "gpu"

        def memory_stats(self) -> dict[str, int]:
            return stats

    stats = {"bytes_limit": 1000, "bytes_in_use": 500}
    monkeypatch.setattr("jax.devices", lambda: [Device()])
    assert memory.fits_device(400)
    assert not memory.fits_device(401)
    # Of these 500 a simulator has taken 400.
    monkeypatch.setattr(memory, "gpu_memory_free", lambda: 100.0)
    assert memory.fits_device(80)
    assert not memory.fits_device(81)
    # What JAX kept of an earlier run is free for this one.
    stats["pool_bytes"] = 600
    assert memory.fits_device(160)
    assert not memory.fits_device(161)


def test_a_table_on_the_host_draws_what_is_learned_from_and_no_more() -> None:
    prepare_jax()
    from hpsearch.objectives.replay_buffer import Filling, HostTable, Layout, Statistics

    layout = Layout(num_envs=2, rows=5, observation_dim=1, action_dim=1, n_steps=1)
    filling = Filling(np.int32(5), np.int32(4))
    statistics = Statistics(np.zeros(1), np.ones(1), np.inf)
    tables = [HostTable(layout, 7) for _ in range(2)]
    for table in tables:
        for row in range(5):
            transitions = np.full((2, layout.width), row, np.float32)
            transitions[1] += 10
            table.insert(transitions, row)
    at_once = tables[0].draw(filling, statistics, 0.9, 3, 3).rewards
    drawn = tables[1].draw(filling, statistics, 0.9, 3, 8).rewards
    assert drawn.shape == (8,) and drawn[:3].tolist() == at_once.tolist()
    again, other = (table.draw(filling, statistics, 0.9, 3, 3).rewards for table in tables)
    assert again.tolist() == other.tolist()
