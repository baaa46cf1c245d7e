"""Devices, precision and the compilation cache, set before the first computation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dock.core.interop import require
from dock.errors import UsageError
from dock.models.options.train import parse_device

__all__ = ["cache_folder", "choose_devices", "prepare_process", "start_jax"]


def cache_folder() -> Path:
    """Return the folder of compiled programs (``DOCK_JAX_CACHE`` overrides it)."""
    given = os.environ.get("DOCK_JAX_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "dock" / "jax"


def prepare_process(device: str, *, preallocate: bool = True) -> None:
    """Set the environment that JAX reads when it is imported; called before that.

    Parameters
    ----------
    device
        As in ``train.toml``. ``cpu*4`` gives four virtual devices.
    preallocate
        Let JAX take the memory of a GPU at once.
    """
    kind, number, ids = parse_device(device, Path("train.toml"))
    flags = os.environ.get("XLA_FLAGS", "")
    if kind == "cpu":
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        if number > 1 and "device_count" not in flags:
            flags += f" --xla_force_host_platform_device_count={number}"
    elif ids:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", ",".join(str(number) for number in ids))
    if os.environ.get("OMP_NUM_THREADS") == "1" and "multi_thread_eigen" not in flags:
        flags += " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = flags.strip()
    if not preallocate:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def start_jax(*, multi_host: bool = False, cache: bool = True) -> Any:
    """Import JAX and return it, with full precision of matrix products and the cache on disk.

    Raises
    ------
    DependencyError
        When JAX is not installed.
    """
    jax = require("jax", "models")
    require("optax", "models")
    # TF32 on recent GPUs would cost three digits silently.
    jax.config.update("jax_default_matmul_precision", "highest")
    if cache:
        folder = cache_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return jax  # a home that cannot be written: compile anew each time
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if multi_host:
        jax.distributed.initialize()
    return jax


def choose_devices(device: str) -> list[Any]:
    """Return the devices that an option means.

    Raises
    ------
    UsageError
        When there are fewer, or none of that kind.
    """
    import jax

    kind, number, _ = parse_device(device, Path("train.toml"))
    platform = {"dcu": "rocm"}.get(kind, kind)
    try:
        found = jax.devices(platform)
    except RuntimeError as error:
        have = ", ".join(sorted({item.platform for item in jax.devices()}))
        raise UsageError(
            f"device '{device}': JAX sees no {kind} here, only {have}. Install JAX for it "
            "(pip install 'jax[cuda12]'), or set device = \"cpu\"."
        ) from error
    if number > len(found):
        raise UsageError(
            f"device '{device}': {number} wanted, {len(found)} there. Lower the number."
        )
    return list(found[:number])
