import numpy as np
import pytest

from hpsearch.objectives.recording import N_BINS, action_bounds, describe, record


def test_bounds_hold_the_middle_share_of_the_actions() -> None:
    actions = np.stack([np.linspace(-1, 1, 1001), np.linspace(0, 10, 1001)], axis=1)
    low, high = action_bounds(actions, percentile=2.5)
    np.testing.assert_allclose(low, [-0.95, 0.25])
    np.testing.assert_allclose(high, [0.95, 9.75])


def test_a_description_counts_each_action_once_and_tells_the_share_outside() -> None:
    actions = np.random.default_rng(0).normal(size=(4000, 2))
    found = describe(actions, ["hip", "knee"], percentile=10.0)
    assert found["n_actions"] == 4000
    for joint, name in zip(found["joints"], ("hip", "knee"), strict=True):
        assert joint["name"] == name
        assert joint["outside"] == pytest.approx(0.2, abs=0.001)
        assert sum(joint["counts"]) == 4000
        assert len(joint["edges"]) == len(joint["counts"]) + 1 == N_BINS + 1


class Still:
    """Environments and an agent at once; counts its steps."""

    num_envs = 3

    def __init__(self) -> None:
        self.env, self.n_steps = self, 0

    def seed(self, seed: int) -> None:
        self.seeded = seed

    def reset(self) -> np.ndarray:
        return np.zeros((3, 1))

    def predict(self, _: object) -> np.ndarray:
        return np.full((3, 2), self.n_steps, np.float32)

    def step(self, _: object) -> tuple[np.ndarray, None, None, None]:
        self.n_steps += 1
        return np.zeros((3, 1)), None, None, None


def test_as_many_actions_are_recorded_as_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpsearch.objectives import environment

    monkeypatch.setattr(environment, "unwrap_vec_normalize", lambda _: None)
    agent = Still()
    actions = record(agent, 10, seed=5)  # type: ignore[arg-type]
    assert actions.shape == (12, 2) and agent.seeded == 5
    assert actions[-1].tolist() == [3.0, 3.0]
