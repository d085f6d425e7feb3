"""The update against stock sbx on the same batches, and what it needs no new program for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpsearch.objectives.device import prepare_jax

pytestmark = [
    # What sbx imports still uses names that jax has deprecated.
    pytest.mark.filterwarnings("ignore:jax\\.:DeprecationWarning"),
]

N_UPDATES, BATCH = 24, 32
POLICY = {"net_arch": [32, 32], "layer_norm": True}


def stock_agent(algo: str, policy: str, delay: int, ent_coef: str | float) -> Any:
    """Returns sbx's own agent and random data `[N_UPDATES * BATCH, ...]`."""
    import flax.linen as nn
    import gymnasium
    import optax
    import sbx
    from sbx.common.type_aliases import ReplayBufferSamplesNp

    agent = {"sac": sbx.SAC, "tqc": sbx.TQC}[algo](
        policy, gymnasium.make("Pendulum-v1"), seed=3, policy_delay=delay, learning_rate=1e-3,
        ent_coef=ent_coef, tau=0.01, gamma=0.98,
        policy_kwargs={**POLICY, "activation_fn": nn.elu, "optimizer_class": optax.adamw},
    )  # fmt: skip
    rng = np.random.default_rng(0)
    n = N_UPDATES * BATCH

    def draw(*shape: int) -> Any:
        return rng.normal(size=(n, *shape)).astype(np.float32)

    data = ReplayBufferSamplesNp(
        draw(3), np.tanh(draw(1)), draw(3), (draw() > 1).astype(np.float32), draw(),
        np.full(n, 0.98, np.float32),
    )  # fmt: skip
    return agent, data


def learned_here(
    algo: str, policy: str, delay: int, ent_coef: str | float, begin: Any, data: Any
) -> Any:
    """Returns our learner after the same updates from the same parameters and key."""
    import jax

    from hpsearch.objectives.hyperparams import of_algo
    from hpsearch.objectives.networks import Networks, network_key
    from hpsearch.objectives.update import Batch, Numbers, new_learner, update

    given = {**POLICY, "policy": policy, "activation_fn": "elu", "optimizer_class": "adamw"}
    hp: Any = of_algo(algo, {**given, "ent_coef": ent_coef})
    networks = Networks(network_key(algo, hp, actor_dim=3, observation_dim=3, action_dim=1))
    first = np.float32(hp.first_ent_coef)
    learner = begin(new_learner(networks, jax.random.PRNGKey(3), first))
    rate = np.float32(1e-3)
    numbers = Numbers(
        rate, rate, rate if isinstance(ent_coef, str) else np.float32(0), np.float32(0.01),
        np.float32(0.98), np.float32(-1), np.int32(delay), np.int32(2 * (25 - 2)),
    )  # fmt: skip

    def many(learner: Any) -> Any:
        def one(i: Any, learner: Any) -> Any:
            parts = [jax.lax.dynamic_slice_in_dim(each, i * BATCH, BATCH) for each in data]
            observations, actions, following, dones, rewards, discounts = parts
            batch = Batch(observations, actions, following, rewards, dones, discounts)
            return update(networks, learner, batch, numbers)

        return jax.lax.fori_loop(0, N_UPDATES, one, learner)

    return jax.jit(many)(learner)


def largest_difference(ours: Any, theirs: Any) -> float:
    import jax

    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


@pytest.mark.parametrize(
    ("policy", "delay", "ent_coef"),
    [("MlpPolicy", 1, "auto_0.01"), ("MlpPolicy", 3, 0.02), ("SimbaPolicy", 2, "auto")],
)
def test_sac_learns_what_stock_sbx_learns(policy: str, delay: int, ent_coef: str | float) -> None:
    prepare_jax()
    agent, data = stock_agent("sac", policy, delay, ent_coef)
    # Ours begins by itself where sbx begins, from the seed alone.
    ours = learned_here("sac", policy, delay, ent_coef, lambda learner: learner, data)
    stock = type(agent)._train(
        agent.tau, agent.target_entropy, N_UPDATES, data, delay, 1 % delay,
        agent.policy.qf_state, agent.policy.actor_state, agent.ent_coef_state, agent.key,
    )  # fmt: skip
    critics, actor, ent_coef_state = stock[:3]
    assert largest_difference(ours.critics, critics.params) < 1e-4
    assert largest_difference(ours.targets, critics.target_params) < 1e-5
    assert largest_difference(ours.actor, actor.params) < 1e-4
    value = np.exp(float(ours.log_ent_coef))
    if isinstance(ent_coef, str):
        assert np.log(value) == pytest.approx(
            float(ent_coef_state.params["log_ent_coef"]), abs=1e-5
        )
    else:
        assert value == pytest.approx(ent_coef)


def test_tqc_learns_what_stock_sbx_learns() -> None:
    prepare_jax()
    import jax
    import jax.numpy as jnp

    agent, data = stock_agent("tqc", "MlpPolicy", 2, "auto_0.1")
    policy = agent.policy

    def both(first: Any, second: Any) -> Any:
        """Returns the two critics of sbx as our one with two members."""
        merged = jax.tree.map(lambda *pair: jnp.stack(pair), first, second)
        return {"params": {"VmapContinuousCritic_0": merged["params"]}}

    def begin(learner: Any) -> Any:
        critics = both(policy.qf1_state.params, policy.qf2_state.params)
        shapes = jax.tree.map(jnp.shape, learner.critics)
        assert shapes == jax.tree.map(jnp.shape, critics)
        return learner._replace(
            actor=policy.actor_state.params, critics=critics, key=agent.key,
            targets=jax.tree.map(jnp.copy, critics),
        )  # fmt: skip

    ours = learned_here("tqc", "MlpPolicy", 2, "auto_0.1", begin, data)
    stock = type(agent)._train(
        agent.tau, agent.target_entropy, N_UPDATES, policy.n_target_quantiles, data, 2, 1,
        policy.qf1_state, policy.qf2_state, policy.actor_state, agent.ent_coef_state, agent.key,
    )  # fmt: skip
    qf1, qf2, actor = stock[:3]
    assert largest_difference(ours.critics, both(qf1.params, qf2.params)) < 1e-4
    assert largest_difference(ours.targets, both(qf1.target_params, qf2.target_params)) < 1e-5
    assert largest_difference(ours.actor, actor.params) < 1e-4
