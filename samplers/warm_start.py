"""Where a search begins that follows an older one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpsearch.exceptions import TooFewSourceTrials, UnfitSource
from hpsearch.samplers.encoding import Encoding
from hpsearch.samplers.history import losses
from hpsearch.samplers.prior import Prior

MIN_TRIALS = 20
"""Two of them are the best tenth."""


def prior_from(
    source: str,
    trials: Sequence[FrozenTrial],
    direction: StudyDirection,
    space: Mapping[str, BaseDistribution],
) -> Prior:
    """Returns a normal distribution over the best tenth of an older study's trials.

    Args:
      source: name of the older study.
      trials: of that study. Those that did not complete, or lie outside `space`, are left out.
      direction: of that study.
      space: what the new study searches.

    Raises:
      UnfitSource: the older study did not search all these parameters.
      TooFewSourceTrials: fewer than `MIN_TRIALS` can be used.

    Source: Nomura et al. 2021, arXiv:2012.06932, "WS-CMA-ES".
    """
    # It brings half a second of SciPy, which every command would wait for.
    from cmaes import get_warm_start_mgd

    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    missing = [n for n in space if complete and not any(n in t.params for t in complete)]
    if missing:
        raise UnfitSource(source=source, problem=f"it did not search {', '.join(missing)}")
    encoding = Encoding({n: d for n, d in space.items() if not d.single()})
    inside = [trial for trial in complete if encoding.holds(trial.params)]
    if len(inside) < MIN_TRIALS:
        raise TooFewSourceTrials(source=source, n=len(inside), needed=MIN_TRIALS)
    loss = losses(inside, direction).tolist()
    points = [encoding.encode(trial.params) for trial in inside]
    mean, sigma, covariance = get_warm_start_mgd(list(zip(points, loss, strict=True)))
    return Prior(
        # A mean of ones may be a last digit more.
        mean=tuple(min(max(x, 0.0), 1.0) for x in mean.tolist()),
        sigma=float(sigma),
        covariance=tuple(tuple(row) for row in covariance.tolist()),
    )
