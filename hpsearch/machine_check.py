"""Tries a task on this machine with the largest network, batch and buffer of a space."""

from __future__ import annotations

import dataclasses
import itertools
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from optuna.distributions import IntDistribution

from hpsearch.attempt_log import AttemptLog
from hpsearch.base import SearchSpace
from hpsearch.exceptions import CheckFailed
from hpsearch.gpu_lease import GpuLease
from hpsearch.process import ChildProcess
from hpsearch.spec import Spec

TRAIN_SECONDS = 15.0
LIMIT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class MachineCheck:
    """What a short training with the space's largest sizes showed.

    Attributes:
      hyperparams: that were tried.
      steps_per_second: environment steps a second of training, gradient steps included.
      updates_per_second: gradient steps a second of training.
      peak_mib: most memory that the child's processes held, in MiB.
      ledger: where its wall seconds went.
      device: what it trained on.
    """

    hyperparams: Mapping[str, Any]
    steps_per_second: float
    updates_per_second: float
    peak_mib: float
    ledger: Mapping[str, float]
    device: str


def largest(space: SearchSpace) -> dict[str, Any]:
    """Returns the hyper-parameters with the most weights and the largest batch and buffer.

    Each integer parameter is set to what makes these largest; one that changes none of them
    (how often to train, how many gradient steps) and each real one to its lower end.
    """
    params = {name: getattr(each, "low", 0) for name, each in space.distributions.items()}
    for name, distribution in space.distributions.items():
        if isinstance(distribution, IntDistribution):
            values = range(distribution.low, distribution.high + 1, distribution.step)
            decoded = [_size(space.decode({**params, name: value})) for value in values]
            params[name] = values[decoded.index(max(decoded))]
    return space.decode(params)


def _size(hyperparams: Mapping[str, Any]) -> tuple[float, ...]:
    net_arch = hyperparams.get("net_arch", [])
    nets = net_arch.values() if isinstance(net_arch, dict) else [net_arch]
    weights = sum(a * b for net in nets for a, b in itertools.pairwise(net))
    units = sum(sum(net) for net in nets)
    # A residual block widens fourfold inside: it holds eight times a plain layer's weights.
    simba = 8 * sum(n * n for net in nets for n in net)
    if hyperparams.get("policy") == "SimbaPolicy":
        weights = simba
    names = ("batch_size", "buffer_size", "num_envs")
    return (weights + units, *(hyperparams.get(name, 0) for name in names))


def check_machine(spec: Spec, *, python: str | None = None) -> MachineCheck:
    """Trains for 15 s with the space's largest sizes, without a database.

    Args:
      spec: task, limits, environments and space.
      python: interpreter of the simulator's environment.

    Raises:
      CheckFailed: workers train on every GPU, or the child ended without a result; the message
        says how.
    """
    gpu = GpuLease()
    if not gpu.take():
        raise CheckFailed(task=spec.task, detail="workers train on all of this machine's GPUs")
    gpu.show()
    try:
        return _check(spec, python)
    finally:
        gpu.release()


def _check(spec: Spec, python: str | None) -> MachineCheck:
    hyperparams = largest(spec.search_space())
    budget = dataclasses.replace(
        spec.budget, train_seconds=TRAIN_SECONDS, n_eval_episodes=spec.num_envs
    )
    with tempfile.TemporaryDirectory() as folder:
        log = AttemptLog(Path(folder) / "log")
        child = ChildProcess(log, python=python)
        try:
            child.send(
                {
                    "type": "run",
                    "objective": spec.objective,
                    "setup": dataclasses.asdict(spec.setup),
                    "hyperparams": hyperparams,
                    "seed": 0,
                    "budget": dataclasses.asdict(budget),
                }
            )
            message, peak = _wait(child)
        finally:
            child.end(5.0)
            log.close()
        if message is None or message["type"] != "result":
            detail = message["detail"] if message else log.tail()
            lines = detail.strip().splitlines() or ["it ended without a word"]
            raise CheckFailed(task=spec.task, detail=lines[-1].rstrip("."))
    seconds = max(message["train_seconds"], 1e-9)
    return MachineCheck(
        hyperparams=hyperparams,
        steps_per_second=message["num_timesteps"] / seconds,
        updates_per_second=message["n_updates"] / seconds,
        peak_mib=peak,
        ledger=message["ledger"],
        device=message["device"],
    )


def _wait(child: ChildProcess) -> tuple[dict[str, Any] | None, float]:
    deadline, peak = time.monotonic() + LIMIT_SECONDS, 0.0
    while time.monotonic() < deadline:
        messages, open_ = child.receive(0.5)
        peak = max(peak, _memory_mib(child.group))
        for message in messages:
            if message["type"] not in ("hello", "phase", "measurement"):
                return message, peak
        if not open_:
            return None, peak
    return {"type": "hung", "detail": f"no result within {LIMIT_SECONDS:.0f} s"}, peak


def _memory_mib(pid: int) -> float:
    try:
        parent = psutil.Process(pid)
        processes = [parent, *parent.children(recursive=True)]
        return math.fsum(process.memory_info().rss for process in processes) / 2**20
    except psutil.Error:
        return 0.0
