"""The update of SAC and TQC: a pure function over arrays, the same program for every number.

Learning rates, tau, gamma, entropy coefficient, policy delay and the number of updates are
arrays, so a search needs one compilation for each shape and none for a value. The equations are
those of sbx 0.28, whose key splits are kept too: on the same batches both learn the same.

Letters of shapes: `B` transitions, `O` figures of an observation, `A` actions, `C` critics,
`Q` quantiles of each.

Sources: Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications"; Kuznetsov et al.
2020, "Controlling Overestimation Bias with Truncated Mixture of Continuous Distributional
Quantile Critics".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hpsearch.objectives.networks import Networks


class Batch(NamedTuple):
    """Transitions that one update learns from.

    Attributes:
      observations: `[B, O]`, normalised.
      actions: `[B, A]`, in [-1, 1].
      next_observations: `[B, O]`, normalised; `n_steps` later.
      rewards: `[B]`, of these steps, discounted.
      terminals: `[B]`, 1 where no value follows.
      discounts: `[B]`, of the value that follows.
    """

    observations: jax.Array
    actions: jax.Array
    next_observations: jax.Array
    rewards: jax.Array
    terminals: jax.Array
    discounts: jax.Array


class Numbers(NamedTuple):
    """The hyper-parameters that are numbers, each a scalar array; see `OffPolicyHyperparams`.

    Attributes:
      learning_rate: of the actor.
      qf_learning_rate: of the critics.
      ent_learning_rate: of the entropy coefficient; 0 for one that is not learned.
      tau: of the targets.
      gamma: discount of a step.
      target_entropy: that the entropy coefficient steers to.
      policy_delay: int32.
      n_target_quantiles: int32, lowest quantiles of all critics that TQC keeps.
    """

    learning_rate: Any
    qf_learning_rate: Any
    ent_learning_rate: Any
    tau: Any
    gamma: Any
    target_entropy: Any
    policy_delay: Any
    n_target_quantiles: Any


class Learner(NamedTuple):
    """All that an update changes.

    Attributes:
      actor: parameters.
      actor_opt: state of their optimizer.
      critics: parameters.
      targets: parameters of the target critics.
      critics_opt: state of the critics' optimizer.
      log_ent_coef: scalar.
      ent_opt: state of its optimizer.
      key: of the updates' own noise.
      n_updates: int32, of the critics so far.
      losses: of the latest update: critics, actor, entropy coefficient's loss, its value.
      finite: whether all losses since the start were finite.
    """

    actor: Any
    actor_opt: Any
    critics: Any
    targets: Any
    critics_opt: Any
    log_ent_coef: jax.Array
    ent_opt: Any
    key: jax.Array
    n_updates: jax.Array
    losses: jax.Array
    finite: jax.Array


LOSSES = ("critic_loss", "actor_loss", "ent_coef_loss", "ent_coef")
"""What `Learner.losses` holds, in this order."""


def new_learner(networks: Networks, key: jax.Array, first_ent_coef: jax.Array) -> Learner:
    """Returns a learner before its first update, as sbx begins.

    Args:
      networks: that learn.
      key: decides everything.
      first_ent_coef: scalar; 0 is never learned.
    """
    key, actor_key, critics_key, dropout_key = jax.random.split(key, 4)
    for _ in range(2):  # sbx takes a key for the policy and one for the entropy coefficient
        key, _ = jax.random.split(key)
    observation = jnp.zeros((1, networks.key.observation_dim))
    actor = networks.actor.init(actor_key, observation[:, : networks.key.actor_dim])
    rngs = {"params": critics_key, "dropout": dropout_key}
    critics = networks.critics.init(rngs, observation, jnp.zeros((1, networks.key.action_dim)))
    log_ent_coef = jnp.log(first_ent_coef)
    return Learner(
        actor=actor,
        actor_opt=networks.optimizer.init(actor),
        critics=critics,
        # A copy: what is learned is given away at each update, and nothing may be given twice.
        targets=jax.tree.map(jnp.copy, critics),
        critics_opt=networks.optimizer.init(critics),
        log_ent_coef=log_ent_coef,
        ent_opt=networks.ent_optimizer.init(log_ent_coef),
        key=key,
        n_updates=jnp.int32(0),
        losses=jnp.zeros(len(LOSSES)),
        finite=jnp.bool_(True),
    )


def update(networks: Networks, learner: Learner, batch: Batch, numbers: Numbers) -> Learner:
    """Returns the learner after one update of the critics and, when it is due, of the actor."""
    ent_coef = jnp.exp(learner.log_ent_coef)
    key, noise_key, target_dropout, dropout = jax.random.split(learner.key, 4)
    if networks.key.n_quantiles:  # sbx gives each critic of TQC dropout keys of its own
        key, _, _ = jax.random.split(key, 3)
    targets = _targets(networks, learner, batch, numbers, noise_key, target_dropout)

    def critics_loss(critics: Any) -> jax.Array:
        values = networks.critics.apply(
            critics, batch.observations, batch.actions, rngs={"dropout": dropout}
        )
        if not networks.key.n_quantiles:
            return 0.5 * jnp.square(targets - values).mean(axis=1).sum()
        return _quantile_loss(values, targets, numbers.n_target_quantiles)

    loss, gradients = jax.value_and_grad(critics_loss)(learner.critics)
    critics, critics_opt = _step(
        networks.optimizer, learner.critics, learner.critics_opt, gradients,
        numbers.qf_learning_rate,
    )  # fmt: skip
    n_updates = learner.n_updates + 1
    learner = learner._replace(
        critics=critics,
        critics_opt=critics_opt,
        targets=optax.incremental_update(critics, learner.targets, numbers.tau),
        key=key,
        n_updates=n_updates,
        losses=learner.losses.at[0].set(loss).at[3].set(ent_coef),
    )
    changing = (learner.actor, learner.actor_opt, learner.log_ent_coef, learner.ent_opt,
                learner.key, learner.losses)  # fmt: skip
    actor, actor_opt, log_ent_coef, ent_opt, key, losses = jax.lax.cond(
        n_updates % numbers.policy_delay == 0,
        lambda old: _update_actor(networks, critics, old, batch.observations, numbers),
        lambda old: old,
        changing,
    )
    return learner._replace(
        actor=actor,
        actor_opt=actor_opt,
        log_ent_coef=log_ent_coef,
        ent_opt=ent_opt,
        key=key,
        losses=losses,
        finite=learner.finite & jnp.isfinite(losses).all(),
    )


def _targets(
    networks: Networks, learner: Learner, batch: Batch, numbers: Numbers, noise_key: Any,
    dropout: Any,
) -> jax.Array:  # fmt: skip
    """Returns `[B, 1]`, or for TQC `[B, C * Q]`, the quantiles in rising order."""
    dim = networks.key.actor_dim
    policy = networks.actor.apply(learner.actor, batch.next_observations[:, :dim])
    actions = policy.sample(seed=noise_key)
    log_prob = policy.log_prob(actions)
    values = networks.critics.apply(
        learner.targets, batch.next_observations, actions, rngs={"dropout": dropout}
    )
    if networks.key.n_quantiles:
        values = jnp.sort(jnp.concatenate(list(values), axis=1))  # TQC, eq. 8
    else:
        values = values.min(axis=0)
    values = values - (jnp.exp(learner.log_ent_coef) * log_prob)[:, None]
    follows = ((1 - batch.terminals) * batch.discounts)[:, None]
    return jax.lax.stop_gradient(batch.rewards[:, None] + follows * values)  # SAC, eq. 5


def _quantile_loss(values: jax.Array, targets: jax.Array, n_kept: jax.Array) -> jax.Array:
    """Returns the quantile Huber loss of `values` `[C, B, Q]` against the kept targets; eq. 10."""
    n_quantiles = values.shape[2]
    levels = (jnp.arange(n_quantiles, dtype=jnp.float32) + 0.5) / n_quantiles
    deltas = targets[None, :, None, :] - values[:, :, :, None]
    size = jnp.abs(deltas)
    huber = jnp.where(size > 1, size - 0.5, 0.5 * jnp.square(deltas))
    loss = jnp.abs(levels[None, None, :, None] - (deltas < 0)) * huber
    kept = jnp.arange(targets.shape[1]) < n_kept
    share = jnp.where(kept, 1.0 / n_kept, 0.0)
    return (loss * share).sum(axis=3).mean(axis=(1, 2)).sum()


def _update_actor(
    networks: Networks, critics: Any, changing: Any, observations: jax.Array, numbers: Numbers
) -> Any:
    actor, actor_opt, log_ent_coef, ent_opt, key, losses = changing
    n_keys = 4 if networks.key.n_quantiles else 3
    key, dropout, *_, noise_key = jax.random.split(key, n_keys)
    ent_coef = jnp.exp(log_ent_coef)

    def actor_loss(parameters: Any) -> tuple[jax.Array, jax.Array]:
        policy = networks.actor.apply(parameters, observations[:, : networks.key.actor_dim])
        actions = policy.sample(seed=noise_key)
        log_prob = policy.log_prob(actions)
        values = networks.critics.apply(critics, observations, actions, rngs={"dropout": dropout})
        if networks.key.n_quantiles:
            value = values.mean(axis=(0, 2))
        else:
            value = values[:, :, 0].min(axis=0)
        return (ent_coef * log_prob - value).mean(), -log_prob.mean()  # SAC, eq. 9

    (loss, entropy), gradients = jax.value_and_grad(actor_loss, has_aux=True)(actor)
    actor, actor_opt = _step(
        networks.optimizer, actor, actor_opt, gradients, numbers.learning_rate
    )
    surplus = entropy - numbers.target_entropy
    # SAC, section 5, of the coefficient's logarithm. A fixed one of 0 has none.
    learned = numbers.ent_learning_rate > 0
    new_log_ent_coef, new_ent_opt = _step(
        networks.ent_optimizer, log_ent_coef, ent_opt, surplus, numbers.ent_learning_rate
    )
    ent_loss = jnp.where(learned, log_ent_coef * surplus, 0.0)
    log_ent_coef = jnp.where(learned, new_log_ent_coef, log_ent_coef)
    return (
        actor,
        actor_opt,
        log_ent_coef,
        new_ent_opt,
        key,
        losses.at[1].set(loss).at[2].set(ent_loss),
    )


def _step(
    optimizer: Any, parameters: Any, state: Any, gradients: Any, learning_rate: Any
) -> tuple[Any, Any]:
    """Returns parameters and optimizer state after one step of gradient descent."""
    rate = jnp.asarray(learning_rate, jnp.float32)
    state = state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})
    changes, state = optimizer.update(gradients, state, parameters)
    return optax.apply_updates(parameters, changes), state
