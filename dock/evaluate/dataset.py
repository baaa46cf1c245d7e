"""Sets of unified folders: splitting them, counting what is in them, features for training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dock._version import __version__
from dock.converters.deeph.dataset import Split, find_structures, split
from dock.core.calculation import Calculation
from dock.errors import DockError, FormatError, MissingDataError
from dock.io.files import atomic_path, write_text
from dock.io.hdf5 import new_hdf5

__all__ = ["DatasetStats", "Split", "features", "find_structures", "split", "stats"]


class DatasetStats(NamedTuple):
    """What a data set holds.

    Attributes
    ----------
    rows
        One dictionary of numbers per structure.
    failures
        (name, reason) of what could not be read.
    """

    rows: tuple[dict[str, Any], ...]
    failures: tuple[tuple[str, str], ...]

    def summary(self) -> dict[str, Any]:
        """Return sums, means and extremes over the structures as plain Python data."""
        found: dict[str, Any] = {"n_structures": len(self.rows), "n_failed": len(self.failures)}
        for key in ("n_atoms", "n_orbitals", "n_edges", "n_entries", "edges_per_atom"):
            values = [row[key] for row in self.rows]
            found[key] = {
                "min": min(values, default=0),
                "mean": float(np.mean(values)) if values else 0.0,
                "max": max(values, default=0),
                "sum": sum(values),
            }
        found["longest_pair_angstrom"] = max(
            (row["longest_pair_angstrom"] for row in self.rows), default=0.0
        )
        elements: dict[str, int] = {}
        for row in self.rows:
            for name, count in row["elements"].items():
                elements[name] = elements.get(name, 0) + count
        found["atoms_by_element"] = elements
        return found

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write a JSON file with everything, and the edges as HDF5 beside it; return both."""
        import h5py

        text = Path(path)
        data = text.with_suffix(".h5")
        content = {
            "written_by": f"dock {__version__}",
            "summary": self.summary(),
            "structures": list(self.rows),
            "failed": [{"name": name, "reason": reason} for name, reason in self.failures],
        }
        write_text(text, json.dumps(content) + "\n", overwrite=overwrite)
        with new_hdf5(data, overwrite=overwrite) as file:
            names = np.array([row["name"] for row in self.rows], dtype=object)
            file.create_dataset("name", data=names, dtype=h5py.string_dtype())
            for key, target in (
                ("n_edges", "edges_quantity"),
                ("n_atoms", "atoms_quantity"),
                ("n_orbitals", "orbits_quantity"),
            ):
                file[target] = np.array([row[key] for row in self.rows], dtype=np.int64)
        return [text, data]

    def plot(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Draw histograms of atoms, edges and edges per atom; return the file."""
        from dock.extras import require
        from dock.results import require_figure_name

        target = Path(path)
        require_figure_name(target)
        figure = require("matplotlib.figure", "plot").Figure((9.0, 2.8), layout="constrained")
        labels = {"n_atoms": "atoms", "n_edges": "edges", "edges_per_atom": "edges per atom"}
        for number, (key, label) in enumerate(labels.items(), 1):
            axes = figure.add_subplot(1, 3, number)
            axes.hist([row[key] for row in self.rows], bins=30, color="#1f4e79")
            axes.set_xlabel(label)
            axes.set_ylabel("structures")
        with atomic_path(target, overwrite=overwrite) as temporary:
            figure.savefig(temporary, dpi=180, format=target.suffix[1:].lower())
        return target


def stats(
    folder: str | Path, *, progress: Callable[[int, int], None] | None = None
) -> DatasetStats:
    """Count atoms, orbitals and edges of every structure of a data set.

    An edge is an atom pair (R, i, j) of the overlap, or of the Hamiltonian where there is none;
    each direction counts, and an atom with itself. Only the pattern of a file is read.

    Parameters
    ----------
    folder
        See `find_structures`.
    progress
        Called with the structures done and their number.
    """
    root, names = find_structures(folder)
    rows, failures = [], []
    for number, name in enumerate(names, 1):
        try:
            rows.append(_row(root / name, name))
        except DockError as error:
            failures.append((name, str(error)))
        if progress is not None:
            progress(number, len(names))
    return DatasetStats(tuple(rows), tuple(failures))


def _row(folder: Path, name: str) -> dict[str, Any]:
    """Return the numbers of one structure."""
    from dock.converters.deeph import read
    from dock.converters.deeph.stream import read_pairs

    calc = read(folder)
    structure, basis = calc.structure, calc.basis
    files = [f"{kind}.h5" for kind in ("overlap", "hamiltonian", "hamiltonian_pred")]
    there = [file for file in files if (folder / file).is_file()]
    if not there:
        raise MissingDataError("overlap.h5", folder, "Compute it with: dock compute-overlap.")
    pairs = read_pairs(folder / there[0], structure.n_atoms)
    symbols, counts = np.unique(np.array(structure.symbols), return_counts=True)
    return {
        "name": name,
        "formula": structure.formula,
        "n_atoms": structure.n_atoms,
        "n_orbitals": basis.n_orbitals,
        "n_edges": len(pairs),
        "edges_per_atom": len(pairs) / structure.n_atoms,
        "n_entries": int(np.sum(basis.counts[pairs.i] * basis.counts[pairs.j])),
        "longest_pair_angstrom": float(pairs.lengths(structure).max(initial=0.0)),
        "elements": dict(zip(symbols.tolist(), counts.tolist(), strict=True)),
        "matrices": list(calc.available),
        "fermi_level_eV": calc.fermi_level,
        "n_electrons": calc.n_electrons,
    }


def features(
    folder: str | Path, *, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Return what a training program must know of a data set, as in ``features.json``.

    ``common_orbital_types`` has, for each l, as many shells as the element with the most of them.

    Raises
    ------
    FormatError
        When two structures have different bases for an element, or only some carry spin.
    """
    from dock.converters.deeph import read

    root, names = find_structures(folder)
    shells: dict[str, tuple[int, ...]] = {}
    spinful: bool | None = None
    for number, name in enumerate(names, 1):
        calc = read(root / name)
        carries = _carries_spin(root / name)
        if spinful not in (None, carries):
            raise FormatError(
                root / name / "info.json",
                "this structure and those before differ in spin",
                where="spinful",
                expected=spinful,
                found=carries,
                fix="A data set has one treatment of spin: split it into two folders.",
            )
        spinful = carries
        _add_shells(shells, calc, root / name)
        if progress is not None:
            progress(number, len(names))
    most: dict[int, int] = {}
    for ls in shells.values():
        for l in set(ls):
            most[l] = max(most.get(l, 0), ls.count(l))
    common = [l for l in sorted(most) for _ in range(most[l])]
    return {
        "dft_data_num": len(names),
        "elements_orbital_map": {name: list(ls) for name, ls in shells.items()},
        "common_orbital_types": common,
        "common_orbital_num": sum(2 * l + 1 for l in common),
        "elements_fitting_map": {},
        "common_fitting_types": [],
        "common_fitting_num": 0,
        "spinful": bool(spinful),
        "max_Vr_size": None,
        "dft_dirname_list": names,
    }


def _carries_spin(folder: Path) -> bool:
    from dock.converters.deeph.info import read_info

    return read_info(folder / "info.json").spinful


def _add_shells(shells: dict[str, tuple[int, ...]], calc: Calculation, folder: Path) -> None:
    """Add the elements of a structure; refuse another basis of one that is known."""
    element_of = calc.structure.element_of
    for label in calc.basis.species:
        ls, name = calc.basis.ls(label), element_of[label]
        if shells.setdefault(name, ls) != ls:
            raise FormatError(
                folder / "info.json",
                f"{name} has another basis than in the structures before",
                where="elements_orbital_map",
                expected=list(shells[name]),
                found=list(ls),
                fix="A data set has one basis for each element: split it into two folders.",
            )
