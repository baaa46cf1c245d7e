"""The figures behind docs/validation.md: what `dock` makes of real runs against the code's own.

Nothing of `dock` but its conversion is used: the unified folder that it wrote is read here with
h5py and plain loops, summed over lattice vectors and diagonalised with numpy.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import scipy.linalg

ROOT = Path(__file__).resolve().parents[1]
HARTREE = 27.2113845  # eV, OpenMX's own
EIGENVALUES, ELECTRONS, MOMENT = 1e-3, 1e-6, 1e-6  # meV, 1, μB
BAND_ENERGY, BAND_ENERGY_38_SOC = 1e-7, 1e-5  # Ha; 3.8 does not store all of the SOC density


class Row(NamedTuple):
    """One figure: deviation and limit in `unit`."""

    code: str
    system: str
    quantity: str
    deviation: float
    limit: float
    unit: str


def rows(*roots: Path) -> Iterator[Row]:
    """Yield the figures of every OpenMX system below the given folders (default: all there are)."""
    for run in systems(*roots):
        yield from openmx_rows(run)
    public = reference_data() / "public" / "openmx" / "MoTe2"
    if not roots and public.is_dir():
        yield printed_row(public)


def reference_data() -> Path:
    """Return the folder of the reference data, which may not be there."""
    return Path(os.environ.get("DOCK_SHARED", ROOT.parent / "shared"))


def systems(*roots: Path) -> list[Path]:
    """Return the run folders: those bundled, and those of the reference data where it is there."""
    if not roots:
        roots = (ROOT / "fixtures" / "openmx", reference_data() / "fixtures" / "openmx")
    found = {}
    for root in roots:
        for file in sorted(root.glob("**/reference.json")):
            found.setdefault(str(file.parent.relative_to(root)), file.parent)
    return list(found.values())


def openmx_rows(run: Path) -> Iterator[Row]:
    """Yield the figures of one run, which is converted into a folder that is thrown away."""
    import dock

    reference = json.loads((run / "reference.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        dock.write(dock.read(run, "openmx"), folder)
        data = Unified(Path(folder))
    code, name = f"OpenMX {reference['openmx_version']}", reference["system"]
    for what, found, expected in eigenvalues(data, reference):
        worst = 1e3 * float(np.abs(found - expected).max())
        yield Row(code, name, what, worst, EIGENVALUES, "meV")
    electrons = data.trace("density_matrix", "overlap") - reference["n_electrons"]
    yield Row(code, name, "Tr(ρS) − electrons", abs(electrons), ELECTRONS, "1")
    energy = data.trace("density_matrix", "hamiltonian") / HARTREE
    old_soc = reference["scfout_format_version"] == 0 and reference["spin_orbit"]
    limit = BAND_ENERGY_38_SOC if old_soc else BAND_ENERGY
    if "band_energy_Uele_Ha" in reference:
        off = abs(energy - reference["band_energy_Uele_Ha"])
        yield Row(code, name, "Tr(ρH) − Uele", off, limit, "Ha")
    if data.n_spin == 2:
        off = np.abs(data.moment() - reference_moment(reference)).max()
        yield Row(code, name, "spin moment", float(off), MOMENT, "μB")


def printed_row(run: Path) -> Row:
    """Return the figure of a run of which there is the log and another program's conversion.

    The log prints its k-points, a regular mesh of 9×9×1, with five digits; OpenMX shifts them off
    the points of high symmetry by 10⁻⁶ and −10⁻⁶.
    """
    import dock

    text = (run / "openmx.out").read_text()
    text = text[text.index("Eigenvalues (Hartree) of SCF") :]
    with tempfile.TemporaryDirectory() as folder:
        dock.write(dock.read(run / "reference", "deeph"), folder)
        data = Unified(Path(folder))
    worst = 0.0
    for block in text.split("kloop=")[1:]:
        head, _, table = block.partition("\n\n")
        printed = [float(value) for value in re.findall(r"k\d=\s*(\S+)", head)]
        k = np.round(9 * np.array(printed)) / 9 + [1e-6, -1e-6, 0]
        levels = [float(line.split()[1]) for line in table.split("\n\n")[0].splitlines()]
        off = np.abs(data.levels(k)[0] - HARTREE * np.array(levels)).max()
        worst = max(worst, 1e3 * float(off))
    quantity = "SCF levels (H and S: another program's folder)"
    return Row("OpenMX 3.9.9", f"{run.name} (public)", quantity, worst, EIGENVALUES, "meV")


class Unified:
    """A unified folder as dense matrices for each lattice vector, spin outer, orbital inner."""

    def __init__(self, folder: Path) -> None:
        self.info = json.loads((folder / "info.json").read_text())
        self.n_spin = 2 if self.info["spinful"] else 1
        lines = (folder / "POSCAR").read_text().splitlines()
        sizes = {
            name: sum(2 * l + 1 for l in ls)
            for name, ls in self.info["elements_orbital_map"].items()
        }
        self.counts = [
            sizes[name]
            for name, number in zip(lines[5].split(), lines[6].split(), strict=True)
            for _ in range(int(number))
        ]
        self.R, self.matrices = np.zeros((0, 3)), {}
        for name in ("overlap", "hamiltonian", "density_matrix"):
            if (folder / f"{name}.h5").is_file():
                self.R, self.matrices[name] = self.dense(folder / f"{name}.h5", name != "overlap")

    def dense(self, path: Path, has_spin: bool) -> tuple[np.ndarray, np.ndarray]:
        with h5py.File(path) as file:
            pairs, bounds = file["atom_pairs"][()], file["chunk_boundaries"][()]
            shapes, entries = file["chunk_shapes"][()], file["entries"][()]
        R, which = np.unique(pairs[:, :3], axis=0, return_inverse=True)
        starts, n = np.concatenate([[0], np.cumsum(self.counts)]), sum(self.counts)
        spins = self.n_spin if has_spin else 1
        full = np.zeros((len(R), spins, n, spins, n), dtype=entries.dtype)
        for pair, cell in enumerate(which.ravel()):
            i, j = pairs[pair, 3:]
            rows, cols = shapes[pair] // spins
            assert (rows, cols) == (self.counts[i], self.counts[j])
            block = entries[bounds[pair] : bounds[pair + 1]].reshape(spins, rows, spins, cols)
            full[cell, :, starts[i] : starts[i + 1], :, starts[j] : starts[j + 1]] = block
        full = full.reshape(len(R), spins * n, spins * n)
        if not has_spin and self.n_spin == 2:
            full = np.einsum("st,Rab->Rsatb", np.eye(2), full).reshape(len(R), 2 * n, 2 * n)
        return R, full

    def k(self, name: str, k: np.ndarray) -> np.ndarray:
        """Return Σ_R exp(2πi k·R) M(R)."""
        return np.einsum("R,Rab->ab", np.exp(2j * np.pi * (self.R @ k)), self.matrices[name])

    def levels(self, k: np.ndarray) -> np.ndarray:
        """Return the eigenvalues, eV; (2, n) for collinear data."""
        H, S = self.k("hamiltonian", k), self.k("overlap", k)
        if self.n_spin == 2 and self.info["dock"]["spin"] == "collinear":
            n = len(H) // 2
            parts = [slice(0, n), slice(n, 2 * n)]
            return np.array([scipy.linalg.eigh(H[p, p], S[p, p], eigvals_only=True) for p in parts])
        return scipy.linalg.eigh(H, S, eigvals_only=True)[None]

    def trace(self, first: str, second: str) -> float:
        """Return Tr(A B) per cell of two Hermitian operators."""
        return float(np.vdot(self.matrices[second], self.matrices[first]).real)

    def moment(self) -> np.ndarray:
        """Return (m_x, m_y, m_z) in μB."""
        n = sum(self.counts)
        rho, S = self.matrices["density_matrix"], self.matrices["overlap"][:, :n, :n]
        uu, ud, dd = rho[:, :n, :n], rho[:, :n, n:], rho[:, n:, n:]
        across = np.vdot(S, ud)
        return np.array([2 * across.real, -2 * across.imag, np.vdot(S, uu - dd).real])


def eigenvalues(data: Unified, reference: dict) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (what, found, expected) in eV for the eigenvalues that the reference has."""
    if "bands" in reference:
        expected = np.array(reference["bands"]["energies_eV"], dtype=float)
        k_points = np.array(reference["bands"]["kpoints_frac"])
        found = np.array([data.levels(k) for k in k_points]).transpose(1, 0, 2)
        yield "bands", found, expected.reshape(found.shape)
    elif "eigenvalues_gamma_eV" in reference:
        found = data.levels(np.zeros(3))
        expected = np.array(reference["eigenvalues_gamma_eV"], dtype=float)
        yield "levels", np.broadcast_to(found, expected.shape), expected


def reference_moment(reference: dict) -> np.ndarray:
    size = reference["total_spin_moment_muB"]
    theta, phi = np.radians(reference.get("total_spin_angles_deg_theta_phi", [0.0, 0.0]))
    direction = [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)]
    return size * np.array(direction)
