"""A solver that answers what `Want` asks and no more, as sparse ones do; full matrices inside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dock.states.dense import solve
from dock.states.solver import Certificate, Plan


@dataclass
class PartOnly:
    """LAPACK, cut to what was asked; `calls` counts the problems that were solved."""

    calls: int = 0
    name: str = "part"

    def plan(self, problem, want, n_problems, jobs):
        return Plan(self.name, "a test asks for parts", 1, 1, 10**6, 0.5)

    def solve(self, problem, channel, k_frac, want):
        self.calls += 1
        assert not want.everything, "a part of the states was to be asked for"
        H, S = (matrix.toarray() for matrix in problem.sparse(channel, k_frac))
        every = solve(H, S, replace(want, window=None, bands=None, nearest=None))
        first, stop = want.within(every.energies)
        vectors = None if every.vectors is None else every.vectors[:, first:stop].copy()
        return replace(
            every,
            energies=every.energies[first:stop].copy(),
            vectors=vectors,
            n_below=first,
            certificate=Certificate("counted by the test", stop - first, 1e-9),
        )

    def close(self):
        pass


def no_dense(monkeypatch):
    """Let every full matrix of a problem be an error."""

    def refuse(*args, **kwargs):
        raise AssertionError("a full matrix was made")

    monkeypatch.setattr("dock.states.problem.Problem.dense", refuse)
    monkeypatch.setattr("dock.core.kspace.KBuilder.dense", refuse)
    monkeypatch.setattr(np.linalg, "eigh", refuse)
