"""A GPU belongs to one worker at a time, whatever ends the worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hpsearch.gpu_lease import GpuLease, usable_gpus

TWO = {"0": "GPU-aaaa", "1": "GPU-bbbb"}

HOLD = """
import sys
from hpsearch.gpu_lease import GpuLease
lease = GpuLease({"7": "GPU-aaaa"})
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


def test_the_same_gpu_under_another_number_is_still_taken_and_free_after_a_kill() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout and holder.stdin
    assert holder.stdout.readline() == "held\n"
    lease = GpuLease({"0": "GPU-aaaa"})
    assert not lease.take()
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    assert lease.take()


def test_a_machine_without_gpus_needs_no_lease() -> None:
    assert GpuLease({}).take()


def test_what_cuda_may_see_is_what_can_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpsearch.gpu_lease.listed_gpus", lambda: TWO)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert usable_gpus() == TWO
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-cccc")
    assert usable_gpus() == {"1": "GPU-bbbb", "GPU-cccc": "GPU-cccc"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert usable_gpus() == {}
