"""``dock doctor``: what this installation and this machine have, and what would add something."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from dock._version import __version__
from dock.cli import options
from dock.cli.wording import print_json
from dock.core.check import Finding
from dock.results import table

_PACKAGES = ("numpy", "scipy", "h5py", "numba", "ase", "spglib", "seekpath", "vesin", "click")

_EXTRAS = {
    "plot": ("matplotlib", "figures"),
    "models": ("jax", "training and predictions of networks"),
    "mkl": ("mkl", "PARDISO: large sparse eigenproblems, faster"),
    "mpi": ("mpi4py", "--mpi: the work over many processes and machines"),
    "pymatgen": ("pymatgen", "structures and bands for pymatgen"),
    "sisl": ("sisl", "sisl's objects and files"),
    "pyscf": ("pyscf", "reading and writing of PySCF's calculations"),
}
"""Package of each extra, and what it adds."""

_WAIT = 60  # s that a library has to start: one that hangs is told, not waited for

_GPU = Path("/dev/nvidia0")
_ASK_JAX = """import jax
print(jax.default_backend(), *(device.device_kind for device in jax.devices()), sep="|")"""
_ASK_MPI = "from mpi4py import MPI; print(MPI.Get_library_version().splitlines()[0])"


@click.command()
@options.json_option
def doctor(as_json: bool) -> None:
    """Show versions, BLAS, memory, devices, MPI, file locks and caches, and what extras would add.

    \b
    Example:
      dock doctor

    Nothing is changed. A note says what is missing or slow here, and what to do about it; add the
    output to a report of a fault.
    """
    findings = list(_findings())
    if as_json:
        content = [vars(finding) for finding in findings]
        print_json({"ok": all(one.level != "error" for one in findings), "findings": content})
        return
    click.echo(table([[one.level, one.what, one.message] for one in findings]))


def _findings() -> Iterator[Finding]:
    yield Finding("ok", "dock", f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("ok", "Python", f"{platform.python_version()}, {platform.platform()}")
    yield Finding("ok", "packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    yield from _machine()
    yield _locking()
    yield from _caches()
    for extra, (package, purpose) in _EXTRAS.items():
        yield from _extra(extra, package, purpose)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"


def _machine() -> Iterator[Finding]:
    """Yield CPUs, memory, and the threads of BLAS."""
    from dock.states.memory import allowance
    from dock.threads import available_cpus

    mine, all_cpus = available_cpus(), os.cpu_count() or 1
    given = "" if mine == all_cpus else f" of {all_cpus}: this process may use no more"
    yield Finding("ok", "CPUs", f"{mine}{given}")
    yield Finding("ok", "memory", str(allowance()))
    yield from _blas()


def _blas() -> Iterator[Finding]:
    import numpy as np
    import scipy.linalg  # noqa: F401 - loads its own BLAS, which is looked for
    from threadpoolctl import threadpool_info

    np.dot(np.eye(2), np.eye(2))
    found = [one for one in threadpool_info() if one["user_api"] == "blas"]
    kinds = dict.fromkeys(
        f"{one['internal_api']} {one['version']} ({one.get('architecture', '?')}), "
        f"{one['num_threads']} thread(s)"
        for one in found
    )
    yield Finding("ok", "BLAS", "; ".join(kinds) or "one that tells nothing of itself")
    named = [name for name in os.environ if name.endswith("_NUM_THREADS")]
    if named:
        words = ", ".join(f"{name}={os.environ[name]}" for name in sorted(named))
        yield Finding("note", "threads", f"{words}; dock divides them by itself: see --jobs.")


def _locking() -> Finding:
    """Say whether HDF5 can lock a file here: shared file systems of clusters often cannot."""
    import h5py

    from dock.io.hdf5 import lock_problem

    where, library = Path.cwd(), f"HDF5 {h5py.version.hdf5_version}"
    reason = lock_problem(where)
    if not reason:
        return Finding("ok", "HDF5", f"{library}, locks files in {where}")
    if not os.access(where, os.W_OK):
        return Finding("note", "HDF5", f"{library}; {where} cannot be written to.")
    fix = "set HDF5_USE_FILE_LOCKING=FALSE"
    return Finding("note", "HDF5", f"{library} cannot lock files in {where}: {fix} ({reason}).")


def _caches() -> Iterator[Finding]:
    """Say where compiled code is kept, and where it is not."""
    import numba

    beside = Path(__file__).parents[1] / "core" / "__pycache__"
    given = numba.config.CACHE_DIR
    place = Path(given) if given else beside
    if _is_writable(place):
        yield Finding("ok", "numba", f"{numba.__version__}, keeps compiled loops in {place}")
    else:
        yield Finding(
            "note",
            "numba",
            f"{place} cannot be written to: numba keeps compiled loops below your home, or "
            "compiles at each start. Set NUMBA_CACHE_DIR to a folder of yours.",
        )
    if _version("jax") != "?":
        from dock.models.network.environment import cache_folder

        folder = cache_folder()
        level, words = ("ok", "keeps") if _is_writable(folder) else ("note", "cannot keep")
        yield Finding(level, "JAX cache", f"{words} compiled programs in {folder}")  # type: ignore[arg-type]


def _is_writable(folder: Path) -> bool:
    """Say whether files can be made in a folder, which may have to be made itself."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return os.access(there, os.W_OK)


def _extra(extra: str, package: str, purpose: str) -> Iterator[Finding]:
    """Say whether an extra is there and works, or what it would add."""
    line = f"pip install 'dock-dft[{extra}]'"
    found = _version(package)
    if found == "?":
        yield Finding("note", package, f"not installed: {purpose}. {line}")
        return
    asked = {"jax": _ASK_JAX, "mpi4py": _ASK_MPI}.get(package)
    answer, works = ("", True) if asked is None else _ask(asked)
    if not works:
        yield Finding("note", package, f"{found}, but it does not start: {answer}. {line}")
        return
    if package == "jax" and answer.startswith("cpu") and _GPU.exists():
        fix = "pip install 'jax[cuda12]'"
        yield Finding("note", package, f"{found} computes on CPUs, and there is a GPU: {fix}")
        return
    yield Finding("ok", package, f"{found}: {purpose}{f'; {answer}' if answer else ''}")


def _ask(code: str) -> tuple[str, bool]:
    """Return what a short program prints, and True; or what is wrong with it, and False.

    It runs in a process of its own: a broken library may end its process, or never come back.
    """
    command = [sys.executable, "-c", code]
    try:
        made = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {_WAIT} s", False
    lines = (made.stdout if made.returncode == 0 else made.stderr).strip().splitlines()
    said = " ".join((lines or ["it ends without a word"])[-1].split())
    if made.returncode:
        return said, False
    backend, *devices = said.split("|")
    kinds = [f"{devices.count(kind)} × {kind}" for kind in dict.fromkeys(devices)]
    return f"{backend}: {', '.join(kinds)}" if kinds else backend, True
