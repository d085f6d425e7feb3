"""The learning curve of an attempt: all of it in our table, some of it in Optuna's."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from hpsearch.base import Measurement

MAX_INTERMEDIATE_VALUES = 50


def store_curve(
    connection: sa.Connection, attempt_id: uuid.UUID, curve: Sequence[Measurement]
) -> None:
    """Stores measurements; those stored already stay as they are."""
    if curve:
        columns = {
            "train_seconds": [point.train_seconds for point in curve],
            "num_timesteps": [point.num_timesteps for point in curve],
            "n_updates": [point.n_updates for point in curve],
            "mean_return": [point.mean_return for point in curve],
            "metrics": [json.dumps(dict(point.metrics)) for point in curve],
        }
        connection.execute(_STORE_CURVE, {"attempt": attempt_id, **columns})


# One statement for all points; an `INSERT ... VALUES` of several with ON CONFLICT is not.
_STORE_CURVE = sa.text("""
    INSERT INTO hpsearch.measurements
        (attempt_id, train_seconds, num_timesteps, n_updates, mean_return, metrics)
    SELECT :attempt, * FROM unnest(
        CAST(:train_seconds AS float[]), CAST(:num_timesteps AS bigint[]),
        CAST(:n_updates AS bigint[]), CAST(:mean_return AS float[]),
        CAST(CAST(:metrics AS text[]) AS jsonb[]))
    ON CONFLICT DO NOTHING
""")


def thinned(curve: Sequence[Measurement]) -> dict[int, float]:
    """Returns at most 50 returns of a curve by whole training seconds, the last one among them."""
    points = {int(p.train_seconds): p.mean_return for p in curve if p.mean_return is not None}
    steps = list(points)
    stride = -(-len(steps) // MAX_INTERMEDIATE_VALUES) or 1
    return {step: points[step] for step in steps[::-1][::stride][::-1]}
