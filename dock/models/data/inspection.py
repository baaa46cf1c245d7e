"""The checks of a data set before a GPU hour is spent, with every file read once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from dock.converters import read
from dock.converters.deeph.folder import FILES
from dock.core.arrays import FloatArray
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.quantity import quantity_of
from dock.core.spin import Spin
from dock.errors import DockError, UsageError
from dock.models.data.samples import Item, Sample, label
from dock.models.targets import TargetLayout

__all__ = ["Inspection"]

_HERMITIAN = 1e-3  # eV; beyond this an SCF run is not converged or a file is damaged
_WHOLE = 1e-3  # electrons by which a neutral structure's may miss the sum over its atoms
_OUTLIER = 12.0  # times the spread of the other structures


class Inspection:
    """The structures of a data set on their way from the files to the labels.

    First the heads of all are read: they say spin and bases, from which the targets follow. Then
    matrices are read one after another, checked and labelled on the way, and forgotten.

    Errors: unreadable or incomplete folders, another spin treatment or another basis of a species
    than in the first structure, entries that are not finite. Warnings: blocks that are far from
    Hermitian, on-site blocks far from those of the same species elsewhere in the set (an
    unconverged run shows like this), and structures without an overlap.

    Parameters
    ----------
    samples, quantity
        The structures, and what is learned.
    deep
        Check the matrices of all of them; else only what says their spin and basis.
    needs_overlap
        A structure without an overlap is an error.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        quantity: str,
        *,
        deep: bool = True,
        needs_overlap: bool = False,
    ) -> None:
        self.samples, self.quantity, self.deep = tuple(samples), quantity, deep
        self._needs_overlap = needs_overlap
        self._number = {sample.name: number for number, sample in enumerate(self.samples)}
        self._calcs: dict[int, Calculation] = {}
        self._errors: dict[int, str] = {}
        self._warnings: dict[int, str] = {}
        self._diagonals: dict[int, list[tuple[str, FloatArray]]] = {}
        self.spin: Spin | None = None
        self._shells: dict[str, tuple[int, ...]] = {}
        for number in range(len(self.samples)):
            self._read_head(number)

    @property
    def calculations(self) -> list[tuple[Sample, Calculation]]:
        """The structures without a fault so far; matrices that one asks for are read only once."""
        return [(self.samples[number], calc) for number, calc in self._calcs.items()]

    @property
    def errors(self) -> list[str]:
        """What is wrong so far, each beginning with the name of a structure."""
        return [f"{self.samples[n].name}: {text}" for n, text in sorted(self._errors.items())]

    @property
    def warnings(self) -> list[str]:
        """What is doubtful so far, each beginning with the name of a structure."""
        deviations = [text for _, text in sorted(self._warnings.items())]
        return [*deviations, *self._outliers(), *self._alone()]

    def item(
        self, sample: Sample, layout: TargetLayout, *, with_moments: bool, with_overlap: bool
    ) -> Item:
        """Read the matrices of a structure, check them, and return its labels.

        Raises
        ------
        DockError
            For faults of the matrices, which `errors` lists too, and labels that do not fit.
        """
        number = self._number[sample.name]
        calc = self._calcs[number]
        try:
            if self.deep:
                self._check(number, calc)
            return label(calc, sample, layout, with_moments=with_moments, with_overlap=with_overlap)
        finally:
            calc.release()

    def electrons(self) -> dict[str, float]:
        """Return the valence electrons of each species, as far as the electrons of the runs tell.

        They solve Σ n_species Z_species = N over the structures by least squares. Nothing is known
        of species that only occur in one proportion, and of charged cells.
        """
        known = [calc for calc in self._calcs.values() if calc.n_electrons is not None]
        names = sorted({label for calc in known for label in calc.structure.labels})
        if not names:
            return {}
        table = np.array([[calc.structure.labels.count(name) for name in names] for calc in known])
        counts = np.array([calc.n_electrons for calc in known], dtype=np.float64)
        found, _, rank, _ = np.linalg.lstsq(table.astype(np.float64), counts, rcond=None)
        whole = np.rint(found)
        if rank == len(names):
            is_right = np.abs(table @ whole - counts).max() < _WHOLE and bool(np.all(whole > 0))
            return dict(zip(names, whole.tolist(), strict=True)) if is_right else {}
        return {}

    def finish(self) -> None:
        """Check the matrices that nobody asked the labels of."""
        for number, calc in self._calcs.items():
            unread = number not in self._errors and number not in self._diagonals
            if self.deep and unread:
                with contextlib.suppress(DockError):  # it stands among the errors
                    self._check(number, calc)
                calc.release()

    def require_good(self) -> None:
        """Check what is left, and refuse a set with errors, listing the first of them.

        Raises
        ------
        UsageError
            Always when there are errors.
        """
        self.finish()
        errors = self.errors
        if errors:
            shown = "\n  ".join(errors[:5])
            more = f"\n  … and {len(errors) - 5} more" if len(errors) > 5 else ""
            raise UsageError(
                f"the data set has faults in {len(errors)} of its structures:\n  "
                f"{shown}{more}\nMend or remove these structures; nothing was trained."
            )

    def _read_head(self, number: int) -> None:
        """Read what says spin and basis of a structure, and look for the files it must have."""
        sample = self.samples[number]
        try:
            calc = read(sample.folder, format="deeph")
            problem = self._misfit(sample, calc)
        except DockError as error:
            problem = str(error)
        if problem:
            self._errors[number] = problem
        else:
            self._calcs[number] = calc

    def _misfit(self, sample: Sample, calc: Calculation) -> str:
        """Say why a structure cannot be in the set; empty where it can."""
        name = quantity_of(self.quantity).name
        file = sample.folder / FILES.get(name, f"{name}.h5")
        if not file.is_file():  # a prediction beside it is nothing to learn from
            have = ", ".join(calc.available) or "none"
            return f"{file.name} is missing. Matrices found: {have}."
        if self.spin is None:
            self.spin = calc.spin
        if calc.spin is not self.spin:
            return (
                f"spin is '{calc.spin.value}', but '{self.spin.value}' in the structures before; "
                "a model has one treatment of spin."
            )
        for species in calc.basis.species:
            ls = calc.basis.ls(species)
            if self._shells.setdefault(species, ls) != ls:
                return (
                    f"{species} has shells {ls}, but {self._shells[species]} in the structures "
                    "before."
                )
        if self._needs_overlap and not _has_overlap(sample):
            return f"{FILES['overlap']} is missing, which standardize_gauge needs."
        return ""

    def _check(self, number: int, calc: Calculation) -> None:
        """Note what the entries of one structure say about its run."""
        try:
            matrix = calc.require(self.quantity)
        except DockError as error:
            self._errors[number] = str(error)
            raise
        deviation = matrix.hermiticity_error()
        if quantity_of(matrix.quantity).unit == "eV" and deviation > _HERMITIAN:
            self._warnings[number] = (
                f"{self.samples[number].name}: the {matrix.quantity} deviates from Hermitian by "
                f"{deviation:.2g} eV."
            )
        self._diagonals[number] = list(_diagonals(matrix))

    def _outliers(self) -> list[str]:
        """Return sentences about structures whose on-site energies stand apart."""
        rows: dict[str, list[tuple[str, FloatArray]]] = {}
        for number, atoms in sorted(self._diagonals.items()):
            for species, diagonal in atoms:
                rows.setdefault(species, []).append((self.samples[number].name, diagonal))
        sentences: dict[str, str] = {}
        for species, own in rows.items():
            for name, shift, times in _far_from_the_others(own):
                sentences.setdefault(
                    name,
                    f"{name}: an on-site energy of {species} is {shift:+.2f} eV from the median of "
                    f"the set ({times:.0f} times the spread): is this run converged?",
                )
        return list(sentences.values())

    def _alone(self) -> list[str]:
        """Return a sentence about structures without an overlap."""
        if self._needs_overlap:
            return []
        names = [self.samples[n].name for n in self._calcs if not _has_overlap(self.samples[n])]
        if not names:
            return []
        some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        sentence = (
            f"{some}: no overlap.h5 in {len(names)} structures; their edges are where the "
            f"{self.quantity} has blocks, while predictions are made where S has."
        )
        return [sentence]


def _has_overlap(sample: Sample) -> bool:
    return (sample.folder / FILES["overlap"]).is_file()


def _diagonals(matrix: AOMatrix) -> Iterator[tuple[str, FloatArray]]:
    """Yield species and diagonal of each on-site block, the mean over both spins."""
    last = {1: 0, 2: 1, 4: 3}[len(matrix.entries)]  # down by down
    for index in matrix.pairs.onsite.tolist():
        begin, end = matrix.layout.starts[index : index + 2]
        size = int(matrix.layout.rows[index])
        block = matrix.entries[[0, last], begin:end].mean(axis=0).reshape(size, size)
        yield matrix.basis.labels[int(matrix.pairs.i[index])], np.array(block.diagonal().real)


def _far_from_the_others(rows: list[tuple[str, FloatArray]]) -> Iterator[tuple[str, float, float]]:
    """Yield structure, shift in eV, and how often the usual spread, of atoms that stand apart."""
    if len(rows) < 8:
        return
    values = np.stack([diagonal for _, diagonal in rows])
    centre = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - centre), axis=0) + 1e-6
    worst = (np.abs(values - centre) / spread).max(axis=1)
    for index in np.flatnonzero(worst > _OUTLIER).tolist():
        shift = values[index] - centre
        yield rows[index][0], float(shift[np.argmax(np.abs(shift))]), float(worst[index])
