"""What a run says about the machine that it trained on."""

from __future__ import annotations

from typing import Any

import pytest

from hpsearch.objectives import conditions
from hpsearch.objectives.conditions import Conditions
from hpsearch.objectives.device import prepare_jax


class Kernel:
    """Ticks by hand: what all processes used, what the host took, what this process used."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = self.used = self.stolen = self.own = self.throttled = 0.0
        self.gpu: set[int] = set()
        patch.setattr("time.monotonic", lambda: self.now)
        patch.setattr(conditions, "_busy_seconds", lambda: (self.used, self.stolen))
        patch.setattr(conditions, "cpu_seconds", lambda: self.own)
        patch.setattr(conditions, "_throttled_seconds", lambda: self.throttled)
        patch.setattr(conditions, "other_gpu_processes", lambda: set(self.gpu))
        patch.setattr("os.sched_getaffinity", lambda _: {0, 1})
        patch.setattr(conditions, "identity", lambda: {"device_kind": "d"})


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def watched(kernel: Kernel, **after: Any) -> dict[str, Any]:
    """Returns what is found of 10 s on two cores."""
    found = Conditions()
    with found.watched():
        for name, value in {"now": 10.0, **after}.items():
            setattr(kernel, name, value)
    return found.found


def test_a_run_alone_on_its_machine_is_not_marked(kernel: Kernel) -> None:
    found = watched(kernel, used=19.0, own=18.0)
    assert found["contended"] == []
    assert found["other_cpu_share"] == 0.05


def test_other_processes_are_noticed(kernel: Kernel) -> None:
    found = watched(kernel, used=19.0, own=12.0)
    assert found["contended"] == ["other processes used 35% of the CPU"]


def test_what_the_host_takes_is_noticed(kernel: Kernel) -> None:
    found = watched(kernel, used=10.0, own=10.0, stolen=5.0)
    assert found["contended"] == ["the host took 25% of the CPU"]


def test_a_limit_of_the_container_is_noticed(kernel: Kernel) -> None:
    found = watched(kernel, used=10.0, own=10.0, throttled=8.0)
    assert found["contended"] == ["the container's limit held back 40% of the CPU"]


def test_clocks_are_read_while_the_device_works(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "identity", lambda: {"device_kind": "d", "gpu": {"name": "g"}})
    monkeypatch.setattr(conditions, "gpu_clocks", lambda: {"sm_clock_mhz": int(kernel.now)})
    assert watched(kernel)["gpu"] == {"name": "g", "sm_clock_mhz": 10}


def test_others_on_the_gpu_are_noticed(kernel: Kernel) -> None:
    assert watched(kernel, gpu={7})["contended"] == ["1 other process(es) on the GPU"]


@pytest.mark.filterwarnings("ignore:jax\\.:DeprecationWarning")
def test_this_machine_is_named_and_measured() -> None:
    prepare_jax()
    found = Conditions()
    found.calibrate()
    assert "core" in found.found["device_kind"]
    assert 0 < found.found["calibration_seconds"] < 60
