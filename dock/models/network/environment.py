"""Devices, precision and the compilation cache, set before the first computation."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Any

from dock.errors import UsageError
from dock.extras import require
from dock.models.options.train import parse_device

__all__ = ["cache_folder", "choose_devices", "keep_freed_memory", "prepare_process", "start_jax"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h of glibc


def cache_folder() -> Path:
    """Return the folder of compiled programs (``DOCK_JAX_CACHE`` overrides it)."""
    given, base = os.environ.get("DOCK_JAX_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else Path(base or Path.home() / ".cache") / "dock" / "jax"


def prepare_process(device: str, *, preallocate: bool = True) -> None:
    """Set the environment that JAX reads when it is imported; called before that.

    `device` is as in ``train.toml``; ``cpu*4`` gives four virtual devices. `preallocate` lets JAX
    take the memory of a GPU at once.
    """
    kind, number, ids = parse_device(device)
    flags = os.environ.get("XLA_FLAGS", "")
    if kind == "cpu":
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        if number > 1 and "device_count" not in flags:
            # In front: XLA reads no flag behind a word without dashes, see below.
            flags = f"--xla_force_host_platform_device_count={number} {flags}"
    elif ids:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", ",".join(str(number) for number in ids))
    if os.environ.get("OMP_NUM_THREADS") == "1" and "multi_thread_eigen" not in flags:
        flags += " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = flags.strip()
    if not preallocate:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def keep_freed_memory() -> None:
    """Let the C library of this process keep freed memory instead of giving it back.

    XLA asks for its working memory anew at every step, and touching new pages took a fifth of a
    step on a CPU. Memory that is freed stays with the process; without glibc nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def start_jax(*, multi_host: bool = False) -> Any:
    """Import JAX and return it, with full precision of matrix products and the cache on disk.

    Raises
    ------
    DependencyError, UsageError
        When JAX is not installed; when the other hosts cannot be found.
    """
    jax = require("jax", "models")
    # TF32 on recent GPUs would cost three digits silently.
    jax.config.update("jax_default_matmul_precision", "highest")
    with contextlib.suppress(OSError):  # a home that cannot be written: compile anew each time
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if multi_host and not jax.distributed.is_initialized():
        _join(jax)
    return jax


def _join(jax: Any) -> None:
    """Join the other processes: those that Slurm or MPI started, or that variables describe."""
    count, own = os.environ.get("JAX_NUM_PROCESSES"), os.environ.get("JAX_PROCESS_ID")
    try:
        jax.distributed.initialize(
            num_processes=None if count is None else int(count),
            process_id=None if own is None else int(own),
        )
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"multi_host: the other processes cannot be found ({error}). Start with srun or "
            "mpirun, or set JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and "
            "JAX_PROCESS_ID for each process."
        ) from error


def choose_devices(device: str) -> list[Any]:
    """Return the devices that an option means: so many of each process, if there are several.

    Raises
    ------
    UsageError
        For text that is no device; when there are fewer, or none of that kind.
    """
    import jax

    kind, number, _ = parse_device(device)
    platform = {"dcu": "rocm"}.get(kind, kind)
    try:
        devices = jax.devices(platform)
    except RuntimeError as error:
        have = ", ".join(sorted({item.platform for item in jax.devices()}))
        raise UsageError(
            f"device '{device}': JAX sees no {kind} here, only {have}. Install JAX for it "
            "(pip install 'jax[cuda12]'), or set device = \"cpu\"."
        ) from error
    groups: dict[int, list[Any]] = {}
    for item in devices:
        groups.setdefault(item.process_index, []).append(item)
    fewest = min(map(len, groups.values()))
    if number > fewest:
        raise UsageError(f"device '{device}': {number} wanted, {fewest} there. Lower the number.")
    return [item for process in sorted(groups) for item in groups[process][:number]]
