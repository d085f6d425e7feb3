"""The machine under a run: JAX's settings before its import, the device in words, CPU time."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def prepare_jax() -> None:
    """Sets JAX's environment variables; call it before anything imports jax.

    What the user has set stays. Memory is taken as needed, because a simulator shares the GPU.
    Compiled programs are kept on disk, also the small ones, and shared by all workers of a
    machine; `HPSEARCH_CACHE_DIR` says where, otherwise the user's cache folder.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    folder = _cache_folder()
    if folder is None:
        return
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def _cache_folder() -> Path | None:
    """Returns a folder that can be written, one for each kind of CPU; None if there is none.

    A program compiled for one CPU may crash another that shares the home folder.
    """
    if chosen := os.environ.get("HPSEARCH_CACHE_DIR"):
        base = Path(chosen).expanduser()
    elif cache_home := os.environ.get("XDG_CACHE_HOME"):
        base = Path(cache_home) / "hpsearch"
    elif home := os.environ.get("HOME"):
        base = Path(home) / ".cache" / "hpsearch"
    else:
        return None
    identity = platform.machine() + "".join(_cpu_info(name) for name in ("model name", "flags"))
    folder = base / "jax" / hashlib.sha256(identity.encode()).hexdigest()[:8]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _cpu_info(name: str) -> str:
    """Returns the first value of `name` in /proc/cpuinfo; empty if it is not there."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() == name:
                    return value.strip()
    except OSError:
        pass
    return ""


def cpu_in_words() -> str:
    """Returns CPU model and usable cores."""
    model = _cpu_info("model name") or platform.machine()
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} core{'s' if cores > 1 else ''}"


def device_in_words() -> str:
    """Returns what JAX computes on, then CPU model and usable cores."""
    import jax

    first = jax.devices()[0]
    cpu = cpu_in_words()
    return cpu if first.platform == "cpu" else f"{first.device_kind}; {cpu}"


def identity() -> dict[str, Any]:
    """Returns what identifies the device that JAX computes on.

    `device_kind` is what comparable results share: the GPU's name, or on a CPU its model and the
    usable cores. On an NVIDIA GPU `gpu` adds what its driver tells, where nvidia-ml-py is
    installed.
    """
    import jax

    first = jax.devices()[0]
    if first.platform == "cpu":
        return {"device_kind": cpu_in_words()}
    found: dict[str, Any] = {"device_kind": first.device_kind}
    with _nvml() as told:
        if told is not None:
            nvml, gpu = told
            found["gpu"] = {
                "name": _text(nvml.nvmlDeviceGetName(gpu)),
                "uuid": _text(nvml.nvmlDeviceGetUUID(gpu)),
                "driver": _text(nvml.nvmlSystemGetDriverVersion()),
            }
    return found


def of_kind(here: str, wanted: str) -> bool:
    """Returns whether a kind of device is the wanted one, or that with a simulator named."""
    return here == wanted or here.startswith(f"{wanted}; ")


def gpu_memory_free() -> float | None:
    """Returns the bytes of our GPU that nobody has taken; None where the driver does not tell."""
    with _nvml() as told:
        if told is None:
            return None
        nvml, gpu = told
        try:
            return float(nvml.nvmlDeviceGetMemoryInfo(gpu).free)
        except nvml.NVMLError:
            return None


def gpu_clocks() -> dict[str, int | None]:
    """Returns the clocks of our GPU in MHz as they are now; empty where the driver does not tell.

    Idle it is slow, so look while it works.
    """
    with _nvml() as told:
        if told is None:
            return {}
        nvml, gpu = told
        return {
            "sm_clock_mhz": _clock(nvml, gpu, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": _clock(nvml, gpu, nvml.NVML_CLOCK_MEM),
        }


def other_gpu_processes() -> set[int]:
    """Returns the ids of the processes on our GPU that are not this one or its children."""
    with _nvml() as told:
        if told is None:
            return set()
        nvml, gpu = told
        try:
            running = {process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(gpu)}
        except nvml.NVMLError:
            return set()
    ours = {os.getpid()}
    try:
        import psutil

        ours |= {child.pid for child in psutil.Process().children(recursive=True)}
    except ImportError:
        pass
    # In a container the driver may give our own id as the host sees it.
    return running - ours if running & ours else set(sorted(running)[1:])


@contextmanager
def _nvml() -> Iterator[tuple[Any, Any] | None]:
    """Gives the driver's library and our GPU in it; None without GPU or nvidia-ml-py."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # not installed, or no driver
        yield None
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    try:
        by_uuid = visible.startswith("GPU-")
        gpu = (
            pynvml.nvmlDeviceGetHandleByUUID(visible)
            if by_uuid
            else pynvml.nvmlDeviceGetHandleByIndex(int(visible))
        )
    except (pynvml.NVMLError, ValueError):
        gpu = None
    try:
        yield None if gpu is None else (pynvml, gpu)
    finally:
        pynvml.nvmlShutdown()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _clock(nvml: Any, gpu: Any, which: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetClockInfo(gpu, which))
    except nvml.NVMLError:
        return None


def cpu_seconds() -> float:
    """Returns the CPU seconds of this process: all threads, ended and living children."""
    spent = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        spent += usage.ru_utime + usage.ru_stime
    try:
        import psutil
    except ImportError:
        # A simulator's interpreter may lack it; only children still running are missed.
        return spent
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:
            continue
        spent += times.user + times.system
    return spent
