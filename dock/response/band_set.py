"""Which bands a quantity is of: a range of numbers, and whether it cuts a level in two."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.response.kdata import DEGENERATE

__all__ = ["band_range", "require_whole_levels", "words_of_range"]


def band_range(bands: str | range | slice | None, n_states: int) -> slice:
    """Return the states of a range of bands.

    Parameters
    ----------
    bands
        ``17..20`` or ``17-20`` (from 1, both ends included), one number in words, a `range` or
        slice from 0, or None for all.
    n_states
        Number of states that there are.

    Raises
    ------
    UsageError
        For another text, an empty range, or bands that there are not.

    Examples
    --------
    >>> band_range("17..20", 52)
    slice(16, 20, None)
    """
    if bands is None:
        return slice(0, n_states)
    if isinstance(bands, str):
        first, stop = _parsed(bands)
    elif isinstance(bands, slice):
        first, stop, step = bands.indices(n_states)
        if step != 1:
            raise UsageError(f"bands are a range without gaps, found {bands}.")
    elif isinstance(bands, range) and bands.step == 1:
        first, stop = bands.start, bands.stop
    else:
        raise UsageError(
            "bands are a range without gaps: words such as '17..20' (from 1), or range(16, 20) "
            f"(from 0); found {bands!r}."
        )
    if not 0 <= first < stop <= n_states:
        raise UsageError(
            f"there are {n_states} bands, numbers 1 to {n_states}; "
            f"bands='{first + 1}..{stop}' asks for others."
        )
    return slice(first, stop)


def _parsed(text: str) -> tuple[int, int]:
    first, _, last = text.strip().replace("..", "-").partition("-")
    last = last or first
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UsageError(
            f"bands are a range from 1, such as 17..20, or one number; found '{text}'."
        )
    return int(first) - 1, int(last)


def words_of_range(bands: slice) -> str:
    """Return a range of bands in the words of the command line: ``17..20``."""
    if bands.stop - bands.start == 1:
        return str(bands.stop)
    return f"{bands.start + 1}..{bands.stop}"


def require_whole_levels(
    energies: NDArray[np.float64],
    bands: slice,
    kpoints: Iterable[NDArray[np.float64]] | None = None,
    *,
    tolerance: float = DEGENERATE,
    what: str = "the set",
) -> None:
    """Refuse a range of bands that takes some states of a level and leaves others.

    Parameters
    ----------
    energies : (…, n_bands)
        All energies, ascending; NaN where there is no state.
    kpoints
        Fractional points of the rows, so that the message names one.

    Raises
    ------
    UsageError
        With the smallest set around it that no k-point here cuts.
    """
    flat = energies.reshape(-1, energies.shape[-1])
    tied = np.diff(flat, axis=1) < tolerance  # bands b and b + 1 are of one level
    anywhere: NDArray[np.bool_] = np.any(tied, axis=0)
    first, stop = bands.start, bands.stop
    low_cut = first > 0 and anywhere[first - 1]
    high_cut = stop < flat.shape[1] and anywhere[stop - 1]
    if not (low_cut or high_cut):
        return
    cut = first - 1 if low_cut else stop - 1
    row = int(np.flatnonzero(tied[:, cut])[0])
    while first > 0 and anywhere[first - 1]:
        first -= 1
    while stop < flat.shape[1] and anywhere[stop - 1]:
        stop += 1
    points = None if kpoints is None else np.asarray(list(kpoints))
    at = ""
    if points is not None:
        k = points[row % len(points)]
        at = f" at k = ({', '.join(f'{x:.6g}' for x in k)})"
    raise UsageError(
        f"{what} of bands {words_of_range(bands)} cuts a level in two: bands {cut + 1} and "
        f"{cut + 2} have one energy ({flat[row, cut]:.6f} eV){at}. Pass "
        f"bands='{words_of_range(slice(first, stop))}'."
    )
