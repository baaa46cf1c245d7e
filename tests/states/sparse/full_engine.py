"""An engine of full matrices by LAPACK: what others are compared with, and can be made wrong."""

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
import scipy.sparse

from dock.errors import SolverError


@dataclass
class FullEngine:
    """`wrong` is added to each count; `singular` is an energy that cannot be factored."""

    name: str = "full"
    counts: bool = True
    wrong: int = 0
    noise: float = 0.0
    refused: list = field(default_factory=list)

    def analyse(self, pattern, *, threads):
        return FullAnalysis(self, pattern)


@dataclass
class FullAnalysis:
    engine: FullEngine
    pattern: object
    n_factors: int = 0
    n_counts: int = 0

    def __post_init__(self):
        self.counts = self.engine.counts
        self.n_entries = self.pattern.n**2 // 2
        self.n_operations = self.pattern.n**3 / 3

    def memory(self, kind, *, kept=True):
        return self.pattern.n**2 * kind.itemsize * (2 if kept else 1)

    def full(self, values):
        shape = (self.pattern.n, self.pattern.n)
        parts = values, self.pattern.columns, self.pattern.starts
        upper = scipy.sparse.csr_array(parts, shape=shape).toarray()
        return np.triu(upper) + np.triu(upper, 1).conj().T

    def factor(self, values, kind):
        self.n_factors += 1
        if self.engine.refused:
            raise SolverError(self.engine.refused.pop())
        factor = FullFactor(self.full(values.astype(kind)), self.engine.noise)
        if self.counts:
            factor.n_negative = self.below(values) + self.engine.wrong
        return factor

    def count_negative(self, values, kind):
        self.n_counts += 1
        return self.below(values) + self.engine.wrong, 0

    def below(self, values):
        double = np.result_type(values.dtype, np.float64)
        return int(np.count_nonzero(np.linalg.eigvalsh(self.full(values.astype(double))) < 0))

    def close(self):
        pass


class FullFactor:
    n_negative, n_perturbed = None, 0

    def __init__(self, matrix, noise):
        self.lu, self.noise = scipy.linalg.lu_factor(matrix), noise
        self.rng = np.random.default_rng(7)

    def solve(self, block):
        solved = scipy.linalg.lu_solve(self.lu, block.astype(self.lu[0].dtype))
        if self.noise:
            size = np.linalg.norm(solved, axis=0) / np.sqrt(len(solved))
            solved = solved + self.noise * size * self.rng.normal(size=solved.shape)
        return solved

    def close(self):
        self.lu = None
