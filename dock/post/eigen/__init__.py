"""The dense generalised eigenproblem H x = e S x, at one k-point and at many."""

from dock.post.eigen.many import (
    Bands,
    ThreadPlan,
    available_cpus,
    plan_threads,
    solve_each,
    solve_many,
)
from dock.post.eigen.problem import (
    EigenResult,
    is_positive_definite,
    smallest_overlap_eigenvalue,
    solve,
)

__all__ = [
    "Bands",
    "EigenResult",
    "ThreadPlan",
    "available_cpus",
    "is_positive_definite",
    "plan_threads",
    "smallest_overlap_eigenvalue",
    "solve",
    "solve_each",
    "solve_many",
]
