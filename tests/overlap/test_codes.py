"""Our overlap against the codes' own, for every code whose basis files are read."""

import re

import numpy as np
import pytest
import scipy.sparse

from dock.converters import read
from dock.converters.abacus.orb import read_orb
from dock.converters.basis_files import basis_for, read_basis_folder
from dock.converters.openmx.dat import read_input
from dock.converters.openmx.scfout import ScfoutFile
from dock.converters.siesta.ion import read_ion
from dock.core.basis import Basis
from dock.core.harmonics import reorder
from dock.core.structure import Structure
from dock.overlap.assemble import Integrals, compute_integrals, compute_overlap
from dock.units import ABACUS, CODATA2018, OPENMX, SIESTA4

pytestmark = pytest.mark.shared

SIESTA_TABLES = 2e-5
"""SIESTA interpolates its own two-centre tables; measured 3e-6 to 8e-6."""

SISL_BOHR = 0.529177210903


def siesta_order(basis):
    parts = [reorder(list(basis.ls(label)), "siesta") for label in basis.labels]
    permutation = np.concatenate(
        [p.permutation + first for p, first in zip(parts, basis.offsets[:-1], strict=True)]
    )
    return permutation, np.concatenate([p.signs for p in parts])


def worst(S, reference, cells, order):
    """Return the largest deviation over all cells, from both sides."""
    permutation, signs = order
    n, largest = S.basis.n_orbitals, 0.0
    for index, cell in enumerate(cells):
        block = reference[:, index * n : (index + 1) * n].tocsr()[permutation][:, permutation]
        block = block.multiply(signs[:, None] * signs[None, :])
        largest = max(largest, abs(S.to_csr(cell) - block).max())
    listed = {tuple(cell) for cell in cells}
    assert all(tuple(R) in listed for R in S.pairs.lattice_vectors.tolist())
    return largest


@pytest.mark.parametrize("name", ["tbg_m1", "tbg_m2"])
def test_siesta_twisted_bilayers(shared, name):
    folder = shared / "fixtures/siesta"
    geometry = np.load(folder / name / "geometry.npz")
    scale = SIESTA4.bohr_angstrom / SISL_BOHR
    positions = geometry["xyz_Ang"] * scale
    structure = Structure(geometry["cell_Ang"] * scale, positions, [6] * len(positions))
    shells = read_ion(folder / "graphene/C.ion.xml").shells(SIESTA4)
    S = compute_overlap(structure, Basis({"C": shells}, structure.labels), jobs=2)
    reference = scipy.sparse.load_npz(folder / name / "S.npz")
    cells = geometry["isc_off"].tolist()
    assert worst(S, reference, cells, siesta_order(S.basis)) < SIESTA_TABLES
    assert np.linalg.eigvalsh(S.k([0, 0, 0]))[0] > 1e-5


@pytest.mark.filterwarnings("ignore")  # sisl's own warnings
@pytest.mark.parametrize(
    ("name", "elements", "limit"),
    [("h2o", ("O", "H"), 4e-6), ("graphene", ("C",), 1e-5), ("si2", ("Si",), 4e-6)],
)
@pytest.mark.parametrize("suffix", ["xml", "nc"])
def test_siesta_runs(shared, name, elements, limit, suffix):
    sisl = pytest.importorskip("sisl")
    folder = shared / "fixtures/siesta" / name
    files = {name: read_ion(folder / f"{name}.ion.{suffix}") for name in elements}
    reference = sisl.get_sile(folder / f"{name}.TSHS").read_overlap()
    geometry = sisl.get_sile(folder / f"{name}.XV").read_geometry()
    scale = SIESTA4.bohr_angstrom / sisl.unit_convert("Bohr", "Ang")
    numbers = [atom.Z for atom in geometry.atoms]
    structure = Structure(np.array(geometry.cell) * scale, geometry.xyz * scale, numbers)
    basis = Basis({key: file.shells(SIESTA4) for key, file in files.items()}, structure.labels)
    S = compute_overlap(structure, basis)
    cells = np.array(reference.geometry.lattice.sc_off).tolist()
    assert worst(S, reference.tocsr(), cells, siesta_order(basis)) < limit
    assert min(np.linalg.eigvalsh(S.k(k))[0] for k in ([0, 0, 0], [0.5, 0, 0])) > 1e-5
    _check_siesta_pattern(structure, basis, files, reference, cells)


def _check_siesta_pattern(structure, basis, files, reference, cells):
    """SIESTA's stored pattern is the one through projectors."""
    radii = {key: f.projector_cutoff_bohr * SIESTA4.bohr_angstrom for key, f in files.items()}
    pairs = Integrals.prepare(structure, basis, pairs="kb", projectors=radii).pairs
    matrix = reference._csr
    n = basis.n_orbitals
    atom = basis.table.atom
    row = np.repeat(np.arange(n), matrix.ncol)
    col = np.concatenate(
        [matrix.col[p : p + c] for p, c in zip(matrix.ptr[:-1], matrix.ncol, strict=True)]
    )
    table = np.column_stack([np.array(cells)[col // n], atom[row], atom[col % n]])
    stored = {tuple(line) for line in np.unique(table, axis=0).tolist()}
    mine = {tuple(line) for line in np.column_stack([pairs.R, pairs.i, pairs.j]).tolist()}
    assert mine == stored


@pytest.mark.parametrize("name", ["h2o", "co-f", "si", "graphene", "mos2", "gaas-soc", "fe-spin"])
def test_openmx(shared, name, caplog):
    base = shared / "fixtures/openmx" / name
    source, file = read_input(base / f"{name}.dat"), ScfoutFile.open(base / f"{name}.scfout")
    strings = {one.label: str(one.pao) for one in source.species}
    species = read_basis_folder(shared / "public/openmx/pao", "openmx", strings=strings)
    bohr = OPENMX.bohr_angstrom
    structure = Structure(file.cell * bohr, file.positions * bohr, source.numbers, source.labels)
    basis = basis_for(structure, species)
    found = compute_integrals(structure, basis, ["S", "r", "dS"])
    S = found["overlap"]
    assert len(S.pairs) == len(file.pair_i)
    assert np.all(S.pairs.find(file.pair_R, file.pair_i, file.pair_j) >= 0)
    change = [reorder(list(basis.ls(label)), "openmx") for label in basis.labels]
    stored = {key: file.read(key) for key in ("overlap", "position", "momentum")}
    largest = dict.fromkeys(stored, 0.0)
    for p, (i, j) in enumerate(zip(file.pair_i, file.pair_j, strict=True)):
        shape = (file.n_orbitals[i], file.n_orbitals[j])
        part = slice(file.pair_offsets[p], file.pair_offsets[p] + shape[0] * shape[1])
        blocks = {
            key: np.stack(
                [change[i].apply_block(m[part].reshape(shape), change[j]) for m in values]
            )
            for key, values in stored.items()
        }
        place = (file.pair_R[p], i, j)
        # OpenMX counts r from the first atom, and stores −⟨i|∇|j⟩.
        position = blocks["position"] * bohr
        position += structure.positions[i][:, None, None] * blocks["overlap"][0]
        for key, difference in (
            ("overlap", S.block(*place) - blocks["overlap"][0]),
            ("position", found["position"].block(*place) - position),
            ("momentum", found["gradient"].block(*place) + blocks["momentum"] / bohr),
        ):
            largest[key] = max(largest[key], float(np.abs(difference).max()))
    assert largest["overlap"] < 1e-6
    assert largest["position"] < 1e-4  # OpenMX integrates these two on its real-space grid
    assert largest["momentum"] < 3e-3


def read_csr(lines, place, n):
    """Return one CSR matrix of an ABACUS text file and the line behind it."""
    values, columns, pointers = (lines[place + k].split() for k in range(3))
    data = (np.array(values, float), np.array(columns, int), np.array(pointers, int))
    return scipy.sparse.csr_array(data, shape=(n, n)).toarray(), place + 3


def abacus_system(shared, name, element, orbitals):
    folder = shared / "fixtures/abacus" / name
    text = (folder / "STRU").read_text()
    scale = float(re.search(r"LATTICE_CONSTANT\s+(\S+)", text)[1]) * ABACUS.bohr_angstrom
    vectors = re.search(r"LATTICE_VECTORS\s+((?:\S+\s+){9})", text)[1].split()
    cell = np.array(vectors, float).reshape(3, 3) * scale
    tail = [line for line in text.split("Direct")[1].splitlines() if line.strip()]
    count = int(tail[2].split()[0])
    points = np.array([line.split()[:3] for line in tail[3 : 3 + count]], float) % 1
    file = read_orb(shared / "public/abacus/orb" / orbitals)
    structure = Structure(cell, points @ cell, [{"Si": 14, "C": 6, "Fe": 26}[element]] * count)
    return folder / "OUT.ABACUS", structure, Basis({element: file.shells()}, structure.labels)


def in_dock_order(matrix, basis):
    change = reorder(list(basis.ls(basis.labels[0])), "abacus")
    n = len(change)
    permutation = np.concatenate([change.permutation + k * n for k in range(basis.n_atoms)])
    signs = np.tile(change.signs, basis.n_atoms)
    return matrix[np.ix_(permutation, permutation)] * signs[:, None] * signs


@pytest.mark.parametrize(
    ("name", "element", "orbitals"),
    [
        ("si2", "Si", "Si_gga_6au_100Ry_2s2p1d.orb"),
        ("graphene", "C", "C_gga_8au_100Ry_2s2p1d.orb"),
        ("fe", "Fe", "Fe_gga_6au_100Ry_4s2p2d1f.orb"),
    ],
)
def test_abacus(shared, name, element, orbitals):
    folder, structure, basis = abacus_system(shared, name, element, orbitals)
    S = compute_overlap(structure, basis)
    lines = (folder / "data-SR-sparse_SPIN0.csr").read_text().splitlines()
    place, seen = 3, set()
    while place < len(lines):
        *cell, count = map(int, lines[place].split())
        place += 1
        stored = np.zeros((basis.n_orbitals,) * 2)
        if count:
            stored, place = read_csr(lines, place, basis.n_orbitals)
            seen.add(tuple(cell))
        assert np.abs(S.to_csr(cell).toarray() - in_dock_order(stored, basis)).max() < 1e-6
    assert seen <= {tuple(R) for R in S.pairs.lattice_vectors.tolist()}


def test_abacus_kinetic_and_position(shared):
    folder, structure, basis = abacus_system(shared, "si2", "Si", "Si_gga_6au_100Ry_2s2p1d.orb")
    found = compute_integrals(structure, basis, ["T", "r"])
    n = basis.n_orbitals
    lines = (folder / "data-TR-sparse_SPIN0.csr").read_text().splitlines()
    scale = ABACUS.rydberg_ev * (CODATA2018.bohr_angstrom / ABACUS.bohr_angstrom) ** 2
    scale *= CODATA2018.hartree_ev / ABACUS.hartree_ev
    place = next(k for k, line in enumerate(lines) if len(line.split()) == 4 and k > 1)
    while place < len(lines):
        *cell, count = map(int, lines[place].split())
        place += 1
        if count:
            stored, place = read_csr(lines, place, n)
            mine = found["kinetic"].to_csr(cell).toarray()
            assert np.abs(mine - scale * in_dock_order(stored, basis)).max() < 5e-6  # of 40 eV
    lines = (folder / "data-rR-sparse.csr").read_text().splitlines()
    place = next(k for k, line in enumerate(lines) if len(line.split()) == 3 and k > 1)
    while place < len(lines):
        cell = [int(word) for word in lines[place].split()]
        place += 1
        for axis in range(3):
            count, place = int(lines[place]), place + 1
            stored = np.zeros((n, n))
            if count:
                stored, place = read_csr(lines, place, n)
            mine = found["position"].to_csr(cell, component=axis).toarray()
            stored = in_dock_order(stored, basis) * ABACUS.bohr_angstrom
            assert np.abs(mine - stored).max() < 1e-6


def band_shift(calc, basis, n_bands):
    """Return the largest change of the lowest bands (eV) when our overlap replaces the code's."""
    from scipy.linalg import eigh

    ours = compute_overlap(calc.structure, basis)
    largest = 0.0
    for k in ([0, 0, 0], [0.5, 0, 0], [1 / 3, 1 / 3, 0], [0.13, 0.27, 0]):
        matrix = calc.hamiltonian.k(k)
        channels = matrix if matrix.ndim == 3 else matrix[None]
        bands = [
            np.array([eigh(H, S.k(k), eigvals_only=True) for H in channels])
            for S in (calc.overlap, ours)
        ]
        largest = max(largest, np.abs(bands[0] - bands[1])[:, :n_bands].max())
    return largest


BAND_LIMIT = 1e-4
"""eV; measured 2e-6 to 6e-6 (OpenMX), 2.2e-5 (SIESTA 5), 3e-7 to 5e-6 (ABACUS).

Bands of the runs of SIESTA 2021 move by 2e-4: an error of its own tables, see
`test_siesta_tables`.
"""


@pytest.mark.parametrize(("name", "occupied"), [("graphene", 4), ("si", 4), ("mos2", 13)])
def test_bands_of_openmx_with_our_overlap(shared, name, occupied):
    base = shared / "fixtures/openmx" / name
    calc = read(base, "openmx")
    strings = {one.label: str(one.pao) for one in read_input(base / f"{name}.dat").species}
    species = read_basis_folder(shared / "public/openmx/pao", "openmx", strings=strings)
    assert band_shift(calc, basis_for(calc.structure, species), occupied + 2) < BAND_LIMIT


@pytest.mark.parametrize(
    ("name", "orbitals"),
    [
        ("si2", "Si_gga_6au_100Ry_2s2p1d.orb"),
        ("graphene", "C_gga_8au_100Ry_2s2p1d.orb"),
        ("fe", "Fe_gga_6au_100Ry_4s2p2d1f.orb"),
    ],
)
def test_bands_of_abacus_with_our_overlap(shared, tmp_path, name, orbitals):
    calc = read(shared / "fixtures/abacus" / name, "abacus")
    (tmp_path / orbitals).symlink_to(shared / "public/abacus/orb" / orbitals)
    basis = basis_for(calc.structure, read_basis_folder(tmp_path, "abacus"))
    assert band_shift(calc, basis, 10) < 0.1 * BAND_LIMIT


def test_siesta_5_with_orbitals_that_end_smoothly(shared):
    folder = shared / "public/siesta/Si"
    calc = read(folder, "siesta")
    basis = basis_for(calc.structure, read_basis_folder(folder, "siesta"))
    ours = compute_overlap(calc.structure, basis)
    assert np.abs((ours - calc.overlap).entries).max() < 5e-7
    assert band_shift(calc, basis, 8) < BAND_LIMIT
