"""`hpsearch replay`: train a trial's parameters again on fresh seeds."""

from __future__ import annotations

from typing import Annotated

from hpsearch.cli.attend import attend, start_workers
from hpsearch.cli.options import (
    InsecureOption,
    JsonOption,
    StorageOption,
    StudyOption,
    connect_study,
    option,
    out,
)
from hpsearch.exceptions import InvalidValue, NothingComplete, ReplayIncomplete
from hpsearch.replay import Replay, read_replay, request_replay
from hpsearch.study import Study


def command(
    trial: Annotated[str, option("--trial", help="Number of the trial, or best.")],
    seeds: Annotated[int, option("--seeds", help="How many fresh seeds in all.")] = 5,
    study: StudyOption = None,
    python: Annotated[
        str | None, option("--python", help="Interpreter of the simulator's environment.")
    ] = None,
    json: JsonOption = False,
    storage: StorageOption = None,
    insecure_storage: InsecureOption = False,
) -> None:
    """Trains a trial's parameters again on fresh seeds: was it a lucky seed?

    The seeds are the same for all trials of a study, and none was used by the search. Seeds that
    have a result are not trained again.
    """
    if seeds < 1:
        raise InvalidValue(name="--seeds", value=seeds, allowed="1 or more")
    opened = connect_study(storage, insecure_storage, study)
    number = _number(opened, trial)
    opened.database.retrying(lambda: request_replay(opened, number, seeds))

    def read() -> Replay:
        replay = opened.database.retrying(lambda: read_replay(opened, number))
        assert replay is not None
        return replay

    def finished() -> bool:
        return read().open == 0

    if not finished():
        local = start_workers(
            opened, python=python, only="replay", storage=storage, insecure=insecure_storage
        )
        attend(opened, local, lambda _: finished(), only="replay")
    replay = read()
    if json:
        out.print_json(data={"trial": number, "runs": [vars(run) for run in replay.runs]})
    else:
        print_replay(replay)
    if replay.open:
        raise ReplayIncomplete(trial=number, missing=replay.open)


def _number(study: Study, trial: str) -> int:
    if trial == "best":
        best = study.best()
        if best is None:
            raise NothingComplete(study=study.name)
        return best.number
    if not trial.isdecimal():
        raise InvalidValue(name="--trial", value=trial, allowed="a trial's number or best")
    return int(trial)


def print_replay(replay: Replay) -> None:
    """Prints each seed, then what they say together beside the search's score."""
    out.print(f"replay of trial {replay.trial_number}", style="bold")
    for run in replay.runs:
        result = run.state if run.value is None else f"{run.value:8.4g}"
        steps = f"  {run.num_timesteps:,} timesteps" if run.num_timesteps else ""
        out.print(f"  seed {run.seed:<10}  {result}{steps}" + (f"  {run.reason or ''}"))
    if not replay.values:
        return
    low, high = replay.interval
    out.print(
        f"  mean {replay.mean:.4g}, IQM {replay.iqm:.4g}, 95 % interval {low:.4g} to {high:.4g} "
        f"over {len(replay.values)} seed(s); in the search, on one seed, {replay.search_value:.4g}"
    )
