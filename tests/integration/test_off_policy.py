"""SAC and TQC within training: groups of observations, warm processes, pace, noise, schedules."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from hpsearch.base import Budget, Measurement
from hpsearch.exceptions import Diverged, InvalidValue, UnsupportedTask
from hpsearch.objectives.clock import BudgetClock
from hpsearch.objectives.compilations import Compilations
from hpsearch.objectives.device import prepare_jax
from hpsearch.objectives.ledger import Ledger
from hpsearch.objectives.spaces import check_spaces
from hpsearch.objectives.training import Training
from tests.integration.test_training import TINY, run, setup

pytestmark = [pytest.mark.filterwarnings("ignore:jax\\.:DeprecationWarning")]

SHORT = Budget(train_seconds=60.0, max_timesteps=400, n_eval_episodes=2)

SCRIPT = """
import hashlib, sys
import numpy as np
from hpsearch.base import Budget
from hpsearch.objectives.training import Training
from hpsearch.objectives import device
from tests.integration.test_training import TINY, setup

device.prepare_jax()
import jax
from hpsearch.objectives import agents

built = []
build = agents.build_agent
agents.build_agent = lambda *a, **k: built.append(build(*a, **k)) or built[-1]
training = Training(setup("quadruped-walk", num_envs=4))
budget = Budget(train_seconds=600.0, max_timesteps=2004, n_eval_episodes=4)
for name in sys.argv[1:]:
    same = name == "same"
    hyperparams = {**TINY, "learning_starts": 0, "learning_rate": 1e-3 if same else 2e-3,
                   "gamma": 0.98 if same else 0.9, "gradient_steps": 1 if same else 3,
                   "net_arch": [16] if name != "other-network" else [8]}
    result = training(hyperparams, seed=1 if same else 2, budget=budget, report=lambda _: None)
agent = built[-1]
assert (agent.num_timesteps, agent.n_updates) == (2004, 500), agent.n_updates
digest = hashlib.sha256()
for leaf in jax.tree.leaves(agent.parameters):
    digest.update(np.asarray(leaf).tobytes())
print(digest.hexdigest(), result.mean_reward, result.num_timesteps)
"""


def test_runs_that_follow_each_other_in_a_process_do_not_influence_each_other() -> None:
    """After 2,000 steps and 500 updates all that was learned is equal bit for bit."""
    said = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, *names],
            capture_output=True, text=True, check=True,
        ).stdout
        for names in (["same"], ["other", "other-network", "same"])
    ]  # fmt: skip
    assert said[0] == said[1] != ""


class Groups(gymnasium.Env):  # type: ignore[misc]
    """Shows a vector to all and another one to the critics."""

    observation_space = spaces.Dict(
        {"critic": spaces.Box(-9, 9, (2,)), "policy": spaces.Box(-9, 9, (3,))}
    )
    action_space = spaces.Box(-2, 2, (1,))

    def _shown(self) -> dict[str, Any]:
        sizes = (("critic", 2), ("policy", 3))
        return {name: self.np_random.normal(size=n).astype(np.float32) for name, n in sizes}

    def reset(self, **given: Any) -> Any:
        super().reset(**given)
        self.age = 0
        return self._shown(), {}

    def step(self, action: Any) -> Any:
        self.age += 1
        return self._shown(), float(action[0]), self.age == 7, self.age == 5, {}


class GroupsTask:
    default_space, default_budget, default_num_envs = "sac-small", SHORT, 4
    default_limits, action_names, metric_names = "none", (), ()
    normalize_observations, reusable = True, True

    @contextmanager
    def make(self, num_envs: int, seed: int, **_: Any) -> Iterator[VecEnv]:
        env = DummyVecEnv([Groups] * num_envs)
        env.seed(seed)
        yield env

    def metrics(self, env: VecEnv) -> dict[str, float]:
        return {}


GROUPS_TASK = GroupsTask()


def kept(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Returns a list that every agent built from now on is put into."""
    prepare_jax()
    from hpsearch.objectives import agents

    built: list[Any] = []
    build = agents.build_agent

    def keep(*args: Any, **given: Any) -> Any:
        built.append(build(*args, **given))
        return built[-1]

    monkeypatch.setattr(agents, "build_agent", keep)
    return built


def compiled(env: VecEnv, *, normalize: bool = False, **hyperparams: Any) -> Any:
    """Returns an agent of SAC that has made no step yet."""
    prepare_jax()
    from hpsearch.objectives.agents import build_agent

    agent = build_agent(
        "sac", {**TINY, **hyperparams}, env, task="t", seed=1, normalize=normalize,
        ledger=Ledger(),
    )  # fmt: skip
    agent.compile()
    return agent


def learn(agent: Any, max_timesteps: int) -> None:
    clock = BudgetClock(60.0)
    clock.start()
    agent.learn(clock, max_timesteps, lambda: True)


def pendulums(seed: int = 1) -> VecEnv:
    env = DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")] * 4)
    env.seed(seed)
    return env


@pytest.mark.parametrize("algo", ["sac", "tqc"])
def test_only_the_critics_see_their_own_group(algo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built = kept(monkeypatch)
    training = Training(setup(f"{__name__}:GROUPS_TASK", algo=algo))
    run(training, TINY, SHORT)
    agent = built[0]
    shown = {"critic": np.ones((4, 2), np.float32), "policy": np.ones((4, 3), np.float32)}
    other = {**shown, "critic": -5 * shown["critic"]}
    np.testing.assert_array_equal(agent.predict(shown), agent.predict(other))
    moved = {**shown, "policy": -shown["policy"]}
    assert not np.array_equal(agent.predict(shown), agent.predict(moved))
    first_layer = agent.parameters[1]["params"]["VmapContinuousCritic_0"]["Dense_0"]["kernel"]
    assert first_layer.shape == (2, 2 + 3 + 1, 16)


def test_ppo_is_shown_all_but_the_critics_group(monkeypatch: pytest.MonkeyPatch) -> None:
    built = kept(monkeypatch)
    hyperparams = {"n_steps": 8, "n_minibatches": 4, "n_epochs": 1, "net_arch": [16]}
    run(Training(setup(f"{__name__}:GROUPS_TASK", algo="ppo")), hyperparams, SHORT)
    assert built[0].env.observation_space.shape == (3,) and built[0].n_updates > 0


def test_groups_of_observations_refuse_rewards_of_several_steps() -> None:
    training = Training(setup(f"{__name__}:GROUPS_TASK"))
    with pytest.raises(InvalidValue, match="n_steps is 3, but must be 1"):
        run(training, {**TINY, "n_steps": 3}, SHORT)


def test_images_are_refused() -> None:
    vector, actions = spaces.Box(0, 1, (8,)), spaces.Box(0, 1, (1,))
    with pytest.raises(UnsupportedTask, match="like an image"):
        check_spaces("t", spaces.Dict({"camera": spaces.Box(0, 1, (8, 8, 3))}), actions)
    with pytest.raises(UnsupportedTask, match="only its critics"):
        check_spaces("t", spaces.Dict({"critic": vector}), actions)


def test_a_compilation_counts_while_the_clock_runs_and_not_while_it_is_paused() -> None:
    prepare_jax()
    import jax

    clock = BudgetClock(60.0)
    counted = Compilations(clock)
    jax.jit(lambda x: 2 * x + 11)(np.float32(1))
    clock.start()
    with clock.paused():
        jax.jit(lambda x: 3 * x + 12)(np.float32(1))
    assert counted.n == 0
    jax.jit(lambda x: 4 * x + 13)(np.float32(1))
    assert counted.n >= 1


def test_agents_that_differ_in_numbers_share_their_programs_and_in_a_shape_do_not() -> None:
    first = compiled(pendulums())
    learn(first, 100)
    other_numbers: dict[str, Any] = {
        "learning_rate": 3e-3, "tau": 0.02, "gamma": 0.9, "ent_coef": 0.1, "policy_delay": 3,
        "gradient_steps": 5, "learning_starts": 32,
    }  # fmt: skip
    clock = BudgetClock(60.0)
    clock.start()
    counted = Compilations(clock)
    second = compiled(pendulums(), **other_numbers)
    learn(second, 100)
    assert second._programs is first._programs
    assert counted.n == 0
    assert (first.n_updates, second.n_updates) == (8, 16 * 5)
    third = compiled(pendulums(), batch_size=16)
    assert third._programs is not first._programs
    assert counted.n > 0


def test_a_long_burst_ends_with_the_budget_and_is_measured_meanwhile() -> None:
    training = Training(setup("Pendulum-v1"))
    hyperparams = {**TINY, "gradient_steps": 1_000_000, "learning_starts": 8}
    measurements: list[Measurement] = []
    try:
        result = training(
            hyperparams, seed=1, budget=Budget(train_seconds=3.0, n_eval_episodes=2),
            report=measurements.append,
        )  # fmt: skip
    finally:
        training.close()
    assert result.overshoot_seconds < 0.3
    assert 0 < result.n_updates < 1_000_000
    assert len(measurements) >= 4


def test_a_linear_schedule_follows_training() -> None:
    rates = []
    for schedule in ("constant", "linear"):
        agent = compiled(pendulums(), learning_rate_schedule=schedule)
        learn(agent, 400)
        rates.append(agent.losses["learning_rate"])
    # The last burst comes one step of 4 environments before the end.
    assert rates == pytest.approx([1e-3, 1e-3 * 4 / 400])


def test_a_loss_that_is_not_finite_is_named_though_all_that_led_to_it_was_finite() -> None:
    def rewarded() -> Any:
        return gymnasium.wrappers.TransformReward(gymnasium.make("Pendulum-v1"), lambda _: 1e30)

    # Its square is too large for float32.
    agent = compiled(DummyVecEnv([rewarded] * 4))
    with pytest.raises(Diverged, match="critic_loss is inf after 1 updates"):
        learn(agent, 100)


class Still(gymnasium.Env):  # type: ignore[misc]
    """Shows the same at each step and keeps the actions, which differ by their noise alone."""

    observation_space = spaces.Box(-9, 9, (3,))
    action_space = spaces.Box(-1, 1, (2,))

    def __init__(self, actions: list[Any]) -> None:
        self.actions = actions

    def reset(self, **given: Any) -> Any:
        super().reset(**given)
        return np.ones(3, np.float32), {}

    def step(self, action: Any) -> Any:
        self.actions.append(tuple(action.tolist()))
        return np.ones(3, np.float32), 0.0, False, False, {}


@pytest.mark.parametrize(
    ("exploring", "kept_steps"),
    [
        ({"use_sde": True, "sde_sample_freq": 4, "use_sde_at_warmup": True}, 4),
        ({"use_sde": True, "train_freq": 3, "use_sde_at_warmup": True}, 3),
        ({"learning_starts": 0, "train_freq": 100}, 1),
    ],
)
def test_exploration_noise_changes_after_its_steps_and_not_before(
    exploring: dict[str, Any], kept_steps: int
) -> None:
    actions: list[Any] = []
    env = DummyVecEnv([lambda: Still(actions)])
    learn(compiled(env, **{"learning_starts": 1000, **exploring}), 12)
    same = [before == after for before, after in itertools.pairwise(actions)]
    assert same == [step % kept_steps != 0 for step in range(1, 12)]


def test_acting_and_learning_see_what_vec_normalize_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare_jax()
    import jax

    from hpsearch.objectives import off_policy

    # So that the batches can be looked at.
    monkeypatch.setattr(off_policy, "fits_device", lambda _: False)
    taken: list[Any] = []
    drawn: list[Any] = []
    env = pendulums()
    step_async = env.step_async

    def noted_step(actions: Any) -> None:
        taken.append(actions)
        step_async(actions)

    monkeypatch.setattr(env, "step_async", noted_step)
    agent = compiled(env, normalize=True, learning_starts=0, train_freq=20)
    actor = jax.tree.map(np.array, agent.parameters[0])
    draw = agent._table.draw

    def noted_draw(*given: Any) -> Any:
        drawn.append(draw(*given))
        return drawn[-1]

    monkeypatch.setattr(agent._table, "draw", noted_draw)
    learn(agent, 84)

    stock = VecNormalize(pendulums(), norm_reward=False)
    policy = agent._programs.networks.actor
    shown = [stock.reset()]
    originals = [stock.get_original_obs()]
    for n, actions in enumerate(taken[:20], start=1):
        noise = jax.random.fold_in(agent._noise_key, n)
        ours = np.clip(policy.apply(actor, shown[-1]).sample(seed=noise), -1, 1)
        np.testing.assert_allclose(actions, 2 * ours, atol=1e-5)
        shown.append(stock.step(actions)[0])
        originals.append(stock.get_original_obs())
    # Whatever was stored is normalised by what is known when it is drawn.
    known = np.concatenate([stock.normalize_obs(each) for each in originals])
    (batch,) = drawn
    for seen in (batch.observations, batch.next_observations):
        nearest = np.abs(seen[:, None] - known).max(axis=2).min(axis=1)
        assert nearest.max() < 1e-5
    stock.step(taken[20])
    last = stock.get_original_obs()
    mode = policy.apply(agent.parameters[0], stock.normalize_obs(last)).mode()
    np.testing.assert_allclose(agent.predict(last), 2 * np.clip(mode, -1, 1), atol=1e-5)
