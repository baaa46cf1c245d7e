"""Sets of unified folders: finding them, and the file that says which are trained on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dock.converters.deeph.folder import FILES, PREDICTION
from dock.errors import MissingDataError, UsageError
from dock.io.files import write_text

__all__ = ["Split", "broken_folders", "find_structures", "split"]

_SEED = 137
_MATRICES = {*FILES.values(), PREDICTION}


@dataclass(frozen=True)
class Split:
    """Names of the structures for training, validation and test."""

    train: tuple[str, ...]
    validate: tuple[str, ...]
    test: tuple[str, ...]

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write ``dataset_split.json``; return the file."""
        content = {name: list(getattr(self, name)) for name in ("train", "validate", "test")}
        write_text(path, json.dumps(content) + "\n", overwrite=overwrite)
        return Path(path)


def find_structures(folder: str | Path) -> tuple[Path, list[str]]:
    """Return the folder of a data set and the names of the unified folders below it, sorted.

    A sub-folder ``dft`` is the data set where there is one, as in the DeepH layout. Symbolic links
    to folders are followed, but not one that leads back to where it is.

    Raises
    ------
    MissingDataError
        When nothing is there.
    """
    root = Path(folder)
    if not root.is_dir():
        raise MissingDataError("the data set", root, "There is no such folder.")
    if (root / "dft").is_dir():
        root = root / "dft"
    names = sorted(str(place.relative_to(root)) for place in _folders_with_runs(root))
    if not names:
        raise MissingDataError(
            "a unified folder", root, "None here or below has POSCAR and info.json: convert first."
        )
    return root, names


def broken_folders(root: str | Path) -> list[tuple[Path, str]]:
    """Return the folders here and below that were unified folders, and the file that each lacks.

    Such a one has matrices, and one of POSCAR and info.json without the other.
    """
    broken = []
    for place, files in _walk(Path(root)):
        lost = [name for name in ("POSCAR", "info.json") if name not in files]
        if len(lost) == 1 and not _MATRICES.isdisjoint(files):
            broken.append((place, lost[0]))
    return sorted(broken)


def _folders_with_runs(root: Path) -> Iterator[Path]:
    """Yield the folders here and below that have both files."""
    for place, files in _walk(root):
        if "info.json" in files and (place / "POSCAR").is_file():
            yield place


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder here and below with the names of its files; links are followed once."""
    start = os.path.realpath(root)
    known = {root: (start, frozenset([start]))}  # where a folder really is, and all on the way
    for here, folders, files in os.walk(root, followlinks=True):
        place = Path(here)
        real, passed = known.pop(place)
        yield place, files
        inside = {}
        for name in folders:
            link = (place / name).is_symlink()
            inside[name] = os.path.realpath(place / name) if link else f"{real}{os.sep}{name}"
        folders[:] = [name for name in folders if inside[name] not in passed]
        for name in folders:
            known[place / name] = (inside[name], passed | {inside[name]})


def split(
    names: Sequence[str],
    ratios: tuple[float, float, float] = (0.6, 0.2, 0.2),
    *,
    seed: int = _SEED,
    group: Callable[[str], str] | None = None,
) -> Split:
    """Divide names at random into training, validation and test.

    Parameters
    ----------
    names
        Names of structures; their order does not matter.
    ratios
        Shares of training, validation and test; their sum is at most 1. A sum of 1 uses all: the
        test set gets what rounding leaves.
    seed
        Of the random numbers; 137 with the default ratios gives the split of DeepH-dock.
    group
        Names for which this returns the same text (such as their formula) stay together.

    Raises
    ------
    UsageError
        For names that occur twice, or ratios that are negative or sum up to more than 1.

    Examples
    --------
    >>> split(["a", "b", "c", "d", "e"], seed=1).train
    ('e', 'a', 'b')
    """
    shares = np.asarray(ratios, dtype=np.float64)
    good = shares.shape == (3,) and bool(np.all((shares >= 0) & (shares <= 1)))
    if not good or not 0 < shares.sum() <= 1 + 1e-9:
        raise UsageError(
            f"the ratios are three shares of at most 1 in sum, found {shares.tolist()}."
        )
    if len(set(names)) != len(names):
        raise UsageError("a name occurs twice among the structures.")
    key = group if group is not None else str
    members: dict[str, list[str]] = {}
    for name in sorted(names):
        members.setdefault(key(name), []).append(name)
    order = np.array(sorted(members))
    np.random.default_rng(seed).shuffle(order)
    shuffled = [members[label] for label in order.tolist()]
    counts = np.cumsum([len(part) for part in shuffled])
    total = len(names)
    first = int(total * shares[0] + 1e-9)
    second = first + int(total * shares[1] + 1e-9)
    whole = shares.sum() > 1 - 1e-9
    last = total if whole else second + int(total * shares[2] + 1e-9)
    cuts = [int(np.searchsorted(counts, limit, side="right")) for limit in (first, second, last)]
    bounds = [0, *cuts]
    parts = [
        tuple(name for part in shuffled[begin:stop] for name in part)
        for begin, stop in zip(bounds, [*cuts, len(shuffled)], strict=False)
    ]
    return Split(parts[0], parts[1], parts[2])
