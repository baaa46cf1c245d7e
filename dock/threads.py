"""The CPUs that this process may use, and how problems and BLAS divide them."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["LARGE", "ThreadPlan", "available_cpus", "plan_threads"]

LARGE = 2000
"""Orbitals from which one problem gets several BLAS threads instead of one worker each."""


@dataclass(frozen=True)
class ThreadPlan:
    """How many problems run at once, and with how many BLAS threads each."""

    workers: int
    blas_threads: int


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def plan_threads(n_orbitals: int, n_problems: int, jobs: int) -> ThreadPlan:
    """Divide `jobs` threads between problems that run at once and BLAS.

    Small problems gain nothing from threads inside BLAS: each gets one worker with one thread.
    From `LARGE` orbitals on, memory rules (a complex problem with vectors takes 96 N² bytes,
    9.6 GB for 10 000 orbitals) and BLAS threads do help: workers shrink as 1/N.

    Examples
    --------
    >>> plan_threads(500, 100, 16), plan_threads(8000, 100, 16)
    (ThreadPlan(workers=16, blas_threads=1), ThreadPlan(workers=4, blas_threads=4))
    """
    wanted = jobs if n_orbitals <= LARGE else round(jobs * LARGE / n_orbitals)
    workers = max(1, min(wanted, n_problems, jobs))
    return ThreadPlan(workers, 1 if n_orbitals <= LARGE else max(1, jobs // workers))
