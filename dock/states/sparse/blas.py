"""Products and factors of parts of one-dimensional stores, by the BLAS and LAPACK of SciPy.

A `Part` is a matrix inside a store, column after column. All routines release the interpreter lock
and make no temporaries; the letter of the routine follows from the type of the numbers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.errors import SolverError
from dock.states.lapack import routine

__all__ = ["Blas", "Part", "blas_threads"]

_LETTERS = {"float32": "s", "float64": "d", "complex64": "c", "complex128": "z"}


class Part(NamedTuple):
    """Where a matrix begins in memory, and the distance of its columns in numbers."""

    address: int
    lead: int


class Blas:
    """The routines for one type of numbers; `hermitian` says which transpose is meant.

    With `hermitian`, the transpose of a complex matrix is conjugate and its factor that of a
    Hermitian one; without, both are those of a symmetric one.
    """

    def __init__(self, kind: np.dtype[Any], *, hermitian: bool = True) -> None:
        self.kind = kind
        self.hermitian = hermitian
        letter = _LETTERS[kind.name]
        complex_ = kind.kind == "c"
        self.transpose = b"C" if complex_ and hermitian else b"T"
        self._gemm = routine("blas", f"{letter}gemm", 13)
        self._trsm = routine("blas", f"{letter}trsm", 11)
        self._symm = routine("blas", f"{letter}symm", 12)
        self._factor = routine(
            "lapack", f"{letter}{'hetrf' if complex_ and hermitian else 'sytrf'}", 8
        )
        self._convert = routine("lapack", f"{letter}syconv", 8)
        self._one, self._minus, self._zero = (np.array([x], dtype=kind) for x in (1, -1, 0))

    def part(self, store: NDArray[Any], begin: int = 0, lead: int | None = None) -> Part:
        """Return the matrix that begins at an entry of a store."""
        address = store.ctypes.data + begin * self.kind.itemsize
        return Part(address, max(1, lead if lead is not None else store.shape[0]))

    def at(self, part: Part, row: int, column: int) -> Part:
        """Return the matrix that begins at an entry of another."""
        shift = (row + column * part.lead) * self.kind.itemsize
        return Part(part.address + shift, part.lead)

    def subtract(
        self, c: Part, a: Part, b: Part, m: int, n: int, k: int, kinds: tuple[bytes, bytes]
    ) -> None:
        """Subtract from c (m, n) the product of a and b over k, each as it is (N) or transposed."""
        if min(m, n, k) == 0:
            return
        head = (kinds[0], kinds[1], _int(m), _int(n), _int(k), self._minus.ctypes.data)
        tail = (b.address, _int(b.lead), self._one.ctypes.data, c.address, _int(c.lead))
        self._gemm(*head, a.address, _int(a.lead), *tail)

    def multiply_symmetric(self, c: Part, a: Part, b: Part, m: int, n: int) -> None:
        """Set c (m, n) to −a b, of which a (m, m) is symmetric; its lower triangle is read."""
        if min(m, n) == 0:
            return
        head = (b"L", b"L", _int(m), _int(n), self._minus.ctypes.data, a.address, _int(a.lead))
        tail = (b.address, _int(b.lead), self._zero.ctypes.data, c.address, _int(c.lead))
        self._symm(*head, *tail)

    def solve_unit(self, side: bytes, kind: bytes, factor: Part, b: Part, m: int, n: int) -> None:
        """Solve in place for b (m, n) with a unit lower triangle, as it is (N) or transposed."""
        if min(m, n) == 0:
            return
        head = (side, b"L", kind, b"U", _int(m), _int(n), self._one.ctypes.data)
        self._trsm(*head, factor.address, _int(factor.lead), b.address, _int(b.lead))

    def factor(self, a: Part, n: int) -> tuple[NDArray[np.intc], NDArray[Any]]:
        """Replace the lower triangle of a (n, n) by L and D of its Bunch–Kaufman factor.

        L is that of the matrix with rows and columns interchanged. Returns LAPACK's interchanges
        and the off-diagonal of D, which is 0 at pivots of one row.
        """
        interchanges = np.zeros(n, dtype=np.intc)
        off_diagonal = np.zeros(n, dtype=self.kind)
        work = np.empty(64 * n, dtype=self.kind)
        info = ctypes.c_int(0)
        reference = ctypes.byref(info)
        head = (_int(n), a.address, _int(a.lead), interchanges.ctypes.data)
        self._factor(b"L", *head, work.ctypes.data, _int(len(work)), reference)
        if info.value >= 0:  # a pivot that is exactly zero is moved later
            self._convert(b"L", b"C", *head, off_diagonal.ctypes.data, reference)
        if info.value < 0:
            raise SolverError(
                f"LAPACK refused argument {-info.value} of a factorisation of {n} rows. This is an "
                "error in dock: please report it."
            )
        return interchanges, off_diagonal


@cache
def _int(number: int) -> Any:
    """Return a number as the address that BLAS wants; few different ones occur."""
    return ctypes.byref(ctypes.c_int(number))


@cache
def _libraries() -> Any:
    """Return the control of the BLAS libraries that are loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def blas_threads(number: int) -> Iterator[None]:
    """Return a context in which BLAS has so many threads, whichever thread asks for it."""
    routine("blas", "dgemm", 13)  # which loads the library that is to be controlled
    _release()
    try:
        with _libraries().limit(limits=number, user_api="blas"):
            yield
    finally:
        _release()


def _release() -> None:
    """Let any thread set the limit: threadpoolctl 3.8 listens to the first one alone."""
    for library in _libraries().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)
