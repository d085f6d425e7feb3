"""Curves in the user's own tools: TensorBoard and Weights & Biases, with Stable-Baselines3's keys.

The worker writes what its child measures, so that logging costs the budget nothing and the
simulator's interpreter needs none of these tools. One run there is one run here, grouped by study.
"""

from __future__ import annotations

import importlib.util
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hpsearch.base import Measurement, TrialResult
from hpsearch.exceptions import InvalidValue, MissingExtra
from hpsearch.settings import settings

TOOLS = ("tensorboard", "wandb")
CLOSE_SECONDS = 30.0


class CurveLog(Protocol):
    """Where one run's curve goes."""

    def write(self, values: Mapping[str, float], num_timesteps: int) -> None:
        """Writes the values at a number of timesteps."""

    def close(self) -> None:
        """Ends the run there."""


def parse_tools(text: str | None) -> tuple[str, ...]:
    """Returns the tools of `--log`, comma between them.

    Raises:
      InvalidValue: one is unknown.
      MissingExtra: one is not installed.
    """
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    for name in names:
        if name not in TOOLS:
            raise InvalidValue(name="--log", value=text, allowed=" or ".join((*TOOLS, "both")))
        if importlib.util.find_spec(name) is None:
            raise MissingExtra(what=f"--log {name}", package=name, extra=name)
    return names


def open_logs(
    tools: Sequence[str], study: str, run: str, config: Mapping[str, Any]
) -> list[CurveLog]:
    """Opens one run's logs.

    Args:
      tools: of `TOOLS`.
      study: what runs are grouped by.
      run: its name.
      config: hyper-parameters and what else decides the run.
    """
    folder = settings().data_dir / "curves" / study
    made: list[CurveLog] = []
    for tool in tools:
        kind = _TensorBoard if tool == "tensorboard" else _Wandb
        made.append(kind(folder, study, run, config))
    return made


def values_of(point: Measurement) -> dict[str, float]:
    """Returns a measurement by the names that Stable-Baselines3 logs under."""
    seconds = point.train_seconds
    values: dict[str, float] = {
        "time/total_timesteps": point.num_timesteps,
        "time/time_elapsed": seconds,
        "time/fps": point.num_timesteps / seconds if seconds > 0 else 0.0,
        "train/n_updates": point.n_updates,
    }
    if point.mean_return is not None:
        values["rollout/ep_rew_mean"] = point.mean_return
    values |= {f"train/{name}": value for name, value in point.losses.items()}
    values |= {f"rollout/{name}": value for name, value in point.metrics.items()}
    return values


def values_at_end(result: TrialResult) -> dict[str, float]:
    """Returns the evaluation by the names that Stable-Baselines3 logs under."""
    return {
        "eval/mean_reward": result.mean_reward,
        **{f"eval/{name}": value for name, value in result.metrics.items()},
    }


def _values(each: Measurement | TrialResult) -> dict[str, float]:
    return values_of(each) if isinstance(each, Measurement) else values_at_end(each)


class _TensorBoard:
    def __init__(self, folder: Path, study: str, run: str, config: Mapping[str, Any]) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder / run))

    def write(self, values: Mapping[str, float], num_timesteps: int) -> None:
        """Writes one event."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        each = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        event = Event(wall_time=time.time(), step=num_timesteps, summary=Summary(value=each))
        self._writer.add_event(event)

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()


class _Wandb:
    def __init__(self, folder: Path, study: str, run: str, config: Mapping[str, Any]) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        # WANDB_MODE=offline and the like are the tool's own variables, and count.
        self._run = wandb.init(
            project="hpsearch", group=study, name=run, config=dict(config), dir=str(folder),
            reinit="create_new",
        )  # fmt: skip

    def write(self, values: Mapping[str, float], num_timesteps: int) -> None:
        """Writes one row."""
        self._run.log(dict(values), step=num_timesteps)

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


class Curves:
    """The logs of one run, written by a thread: no tool takes time from training, or ends it."""

    def __init__(
        self, open_: Callable[[], Sequence[CurveLog]], say: Callable[[str], None]
    ) -> None:
        """Starts the thread.

        Args:
          open_: opens the logs.
          say: told in one line if a tool fails; the run goes on without it.
        """
        self._new: queue.SimpleQueue[Measurement | TrialResult | None] = queue.SimpleQueue()
        self._open, self._say = open_, say
        self._thread = threading.Thread(target=self._write, name="curves", daemon=True)
        self._thread.start()

    def measured(self, point: Measurement) -> None:
        """Takes one point of the curve."""
        self._new.put(point)

    def ended(self, result: TrialResult | None, hurry: Callable[[], bool] = lambda: False) -> None:
        """Takes the evaluation, if there was one, and waits a while for the logs to be closed.

        Args:
          result: of the run; None if it has none.
          hurry: whether to wait no longer.
        """
        if result is not None:
            self._new.put(result)
        self._new.put(None)
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline and not hurry():
            self._thread.join(timeout=0.1)

    def _write(self) -> None:
        try:
            logs = self._open()
            while (each := self._new.get()) is not None:
                values = _values(each)
                for log in logs:
                    log.write(values, each.num_timesteps)
            for log in logs:
                log.close()
        except Exception as error:
            self._say(f"the curve is not logged: {type(error).__name__}: {error}")
