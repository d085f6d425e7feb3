"""A GPU belongs to one worker at a time, whatever ends the worker."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from hpsearch.exceptions import CheckFailed
from hpsearch.gpu_lease import GpuLease, usable_gpus
from hpsearch.machine_check import check_machine
from hpsearch.settings import settings
from hpsearch.spec import Given, resolve

# The names are the host's: another run of these tests must not hold them.
ONE, OTHER = f"GPU-{uuid.uuid4()}", f"GPU-{uuid.uuid4()}"
TWO = {"0": ONE, "1": OTHER}

HOLD = """
import sys
from hpsearch.gpu_lease import GpuLease
lease = GpuLease({"7": sys.argv[1]})
assert lease.take()
print("held", flush=True)
sys.stdin.read()
"""


def test_each_worker_gets_a_gpu_of_its_own_until_none_is_left() -> None:
    leases = [GpuLease(TWO) for _ in range(3)]
    assert [lease.take() for lease in leases] == [True, True, False]
    assert [lease.gpu for lease in leases] == ["0", "1", None]
    leases[0].release()
    assert leases[2].take() and leases[2].gpu == "0"
    for lease in leases:
        lease.release()


def test_a_gpu_is_taken_for_every_user_and_data_folder_of_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine, theirs = GpuLease({"0": OTHER}), GpuLease({"0": OTHER})
    assert mine.take()
    monkeypatch.setenv("HPSEARCH_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    assert not theirs.take()
    mine.release()
    assert theirs.take()
    theirs.release()


def test_the_same_gpu_under_another_number_is_still_taken_and_free_after_a_kill() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout and holder.stdin
    assert holder.stdout.readline() == "held\n"
    lease = GpuLease({"0": ONE})
    assert not lease.take()
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    assert lease.take()
    lease.release()


def test_a_check_takes_no_gpu_from_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpsearch.gpu_lease.usable_gpus", lambda: {"0": OTHER})
    worker = GpuLease()
    assert worker.take()
    with pytest.raises(CheckFailed, match="workers train on all"):
        check_machine(resolve(Given(task="quadruped-walk")))
    worker.release()


def test_children_see_the_held_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lease, environment = GpuLease({"1": OTHER}), dict[str, str]()
    assert lease.take()
    monkeypatch.setattr(os, "environ", environment)
    GpuLease({}).show()
    assert not environment
    lease.show()
    lease.release()
    assert environment == {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def test_a_machine_without_gpus_needs_no_lease() -> None:
    assert GpuLease({}).take()


def test_what_cuda_may_see_is_what_can_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpsearch.gpu_lease.listed_gpus", lambda: TWO)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert usable_gpus() == TWO
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-cccc")
    assert usable_gpus() == {"1": OTHER, "GPU-cccc": "GPU-cccc"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert usable_gpus() == {}
