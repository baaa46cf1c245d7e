"""Sets of unified folders: splitting them, counting what is in them, features for training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dock._version import __version__
from dock.converters.deeph import read
from dock.converters.deeph.dataset import Split, broken_folders, find_structures, split
from dock.converters.deeph.info import read_info
from dock.converters.deeph.pattern import read_pairs
from dock.core.calculation import Calculation
from dock.errors import DockError, FormatError, MissingDataError
from dock.evaluate.records import StructuresResult
from dock.io.progress import Progress, Report
from dock.results import table
from dock.style import colours

__all__ = ["DatasetStats", "Split", "features", "find_structures", "split", "split_folder", "stats"]


@dataclass(frozen=True, eq=False, repr=False)
class DatasetStats(StructuresResult):
    """What a data set holds: a dictionary of numbers per structure.

    Its failures are (name, reason) of what could not be read.
    """

    FILE = "dataset_stats.json"
    FIGURE = (3.0, 2.8)
    DPI = 180

    failures: tuple[tuple[str, str], ...]

    @property
    def n_panels(self) -> int:
        """Atoms, edges, and edges per atom."""
        return 3

    def facts(self) -> dict[str, Any]:
        """Return sums, means and extremes over the structures."""
        facts: dict[str, Any] = {
            "n_structures": len(self.structures),
            "n_failed": len(self.failures),
        }
        for key in ("n_atoms", "n_orbitals", "n_edges", "n_entries", "edges_per_atom"):
            values = [row[key] for row in self.structures]
            facts[key] = {
                "min": min(values, default=0),
                "mean": float(np.mean(values)) if values else 0.0,
                "max": max(values, default=0),
                "sum": sum(values),
            }
        lengths = [row["longest_pair_angstrom"] for row in self.structures]
        facts["longest_pair_angstrom"] = max(lengths, default=0.0)
        elements: Counter[str] = Counter()
        for row in self.structures:
            elements.update(row["elements"])
        facts["atoms_by_element"] = dict(elements)
        return facts

    def json(self, *, arrays: bool = True) -> dict[str, Any]:
        """Return the facts, or with `arrays` all structures with the facts as ``summary``."""
        facts = super().json(arrays=False)
        if not arrays:
            return facts
        return {
            "written_by": f"dock {__version__}",
            "summary": facts,
            "structures": list(self.structures),
            "failed": [{"name": name, "reason": reason} for name, reason in self.failures],
        }

    def datasets(self) -> dict[str, Any]:
        """Return names and counts of the structures, by DeepH's names."""
        datasets = {"name": np.array([row["name"] for row in self.structures], dtype=str)}
        for name, key in (("edges", "n_edges"), ("atoms", "n_atoms"), ("orbits", "n_orbitals")):
            counts = [row[key] for row in self.structures]
            datasets[f"{name}_quantity"] = np.array(counts, dtype=np.int64)
        return datasets

    @classmethod
    def files(cls, path: str | Path) -> list[Path]:
        """Return the HDF5 and the JSON file of a name, which is that of either."""
        path = Path(path)
        text = path.with_suffix(".json") if path.suffix == ".h5" else path
        return [path.with_suffix(".h5"), text]

    def _rows(self) -> list[tuple[str, str]]:
        lines = [(name, f"{low} … {high}, mean {mean}") for name, low, mean, high in self._counts()]
        return [("structures", str(len(self.structures))), *lines, *self._ends()]

    def _counts(self) -> list[list[str]]:
        """Return names, smallest, mean and largest counts in words."""
        facts, lines = self.facts(), []
        for key in ("n_atoms", "n_orbitals", "n_edges", "edges_per_atom"):
            values = [f"{facts[key][name]:.6g}" for name in ("min", "mean", "max")]
            lines.append([key.replace("n_", "").replace("_", " "), *values])
        return lines

    def _ends(self) -> list[tuple[str, str]]:
        facts = self.facts()
        elements = ", ".join(f"{name} {n}" for name, n in facts["atoms_by_element"].items())
        return [("atoms", elements), ("longest pair", f"{facts['longest_pair_angstrom']:.3f} Å")]

    def table(self) -> str:
        """Return smallest, mean and largest counts, and what elements and pairs there are."""
        lines = [["structures", str(len(self.structures)), "", ""], *self._counts()]
        counts = table(lines, ["", "min", "mean", "max"])
        return "\n".join([counts, "", *(f"{name}: {text}" for name, text in self._ends())])

    def draw(self, axes: Any) -> None:
        """Draw histograms of atoms, edges and edges per atom into three axes."""
        labels = {"n_atoms": "atoms", "n_edges": "edges", "edges_per_atom": "edges per atom"}
        for panel, (key, label) in zip(axes, labels.items(), strict=True):
            panel.hist([row[key] for row in self.structures], bins=30, color=colours()[0])
            panel.set_xlabel(label)
            panel.set_ylabel("structures")


def split_folder(
    folder: str | Path,
    ratios: tuple[float, float, float] = (0.6, 0.2, 0.2),
    *,
    seed: int = 137,
    by_formula: bool = False,
) -> Split:
    """Divide the structures of a folder as `split` does; `by_formula` keeps formulas together."""
    root, names = find_structures(folder)

    def formula(name: str) -> str:
        return read(root / name).structure.formula

    return split(names, ratios, seed=seed, group=formula if by_formula else None)


def stats(folder: str | Path, *, progress: Report = None) -> DatasetStats:
    """Count atoms, orbitals and edges of every structure of a data set.

    An edge is an atom pair (R, i, j) of the overlap, or of the Hamiltonian where there is none;
    each direction counts, and an atom with itself. Only the pattern of a file is read. `folder` is
    that of `find_structures`, and `progress` is told of each structure.
    """
    root, names = find_structures(folder)
    structures: list[dict[str, Any]] = []
    failures = [
        (str(place.relative_to(root)), f"{place}: {lost} is missing; it is left out.")
        for place, lost in broken_folders(root)
    ]
    for name in Progress.of(progress).each(names):
        try:
            structures.append(_numbers(root / name, name))
        except DockError as error:
            failures.append((name, str(error)))
    return DatasetStats(tuple(structures), tuple(failures))


def _numbers(folder: Path, name: str) -> dict[str, Any]:
    """Return the numbers of one structure."""
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


def features(folder: str | Path, *, progress: Report = None) -> dict[str, Any]:
    """Return what a training program must know of a data set, as in ``features.json``.

    ``common_orbital_types`` has, for each l, as many shells as the element with the most of them.

    Raises
    ------
    FormatError
        When two structures have different bases for an element, or only some carry spin.
    """
    root, names = find_structures(folder)
    shells: dict[str, tuple[int, ...]] = {}
    spinful: bool | None = None
    for name in Progress.of(progress).each(names):
        calc = read(root / name)
        carries = read_info(root / name / "info.json").spinful
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
