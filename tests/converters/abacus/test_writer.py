"""What is written comes back: through our reader, a second reader, the unified folder."""

import json
from dataclasses import replace

import numpy as np
import pytest
import samples
from hypothesis import given, settings, strategies as st

import dock.converters.abacus as abacus
from dock.converters.abacus.matrices import from_pauli, to_pauli
from dock.converters.abacus.writer import fold_into_cell
from dock.converters.deeph import FORMAT as UNIFIED
from dock.converters.format import WriteOptions
from dock.core.kspace import KBuilder
from dock.core.spin import Spin
from dock.errors import LossError, MissingDataError, UsageError

_SHARED = samples.beside(__file__, "conftest")
random_calculation, write_run = _SHARED.random_calculation, _SHARED.write_run

SPINS = (Spin.NONE, Spin.COLLINEAR, Spin.NONCOLLINEAR)
ALL = ("hamiltonian", "overlap", "kinetic")


def spectrum_of(calc, k):
    import scipy.linalg

    hamiltonian = KBuilder(calc.hamiltonian).dense(k)
    parts = hamiltonian if hamiltonian.ndim == 3 else hamiltonian[None]
    return np.array([scipy.linalg.eigvalsh(part) for part in parts])


@pytest.mark.parametrize("layout", ["old", "new"])
@pytest.mark.parametrize("spin", SPINS)
def test_random_matrices_come_back(tmp_path, spin, layout):
    calc = random_calculation(3, spin, ALL)
    files = write_run(calc, tmp_path / "run", layout=layout)
    again = abacus.read(tmp_path / "run")
    assert {path.name for path in files} >= {"STRU", "INPUT", "running_scf.log"}
    assert (again.spin, again.fermi_level, again.n_electrons) == (spin, 1.25, 10.0)
    assert again.structure.labels == ("C1", "H", "H", "C2")
    folded = fold_into_cell(calc.permute_atoms([0, 1, 3, 2]))
    np.testing.assert_allclose(again.structure.positions, folded.structure.positions, atol=1e-12)
    assert again.structure.fractional.min() > -1e-12
    for quantity in ALL:
        mine, theirs = _by_l(folded).require(quantity).aligned(again.require(quantity))
        np.testing.assert_allclose(theirs.entries, mine.entries, rtol=1e-13, atol=1e-14)


def _by_l(calc):
    """The calculation with each atom's shells by ascending l, as ABACUS orders them."""
    from dock.core.basis import Basis
    from dock.core.matrix import AOMatrix

    ls = {label: calc.basis.ls(label) for label in calc.basis.species}
    basis = Basis.from_ls({label: sorted(group) for label, group in ls.items()}, calc.basis.labels)
    order = []
    for atom, label in enumerate(calc.basis.labels):
        starts = np.cumsum([0, *(2 * l + 1 for l in ls[label])])
        for shell in sorted(range(len(ls[label])), key=lambda s: ls[label][s]):
            l = ls[label][shell]
            order += (calc.basis.offsets[atom] + starts[shell] + np.arange(2 * l + 1)).tolist()
    inside = np.array(order) - calc.basis.offsets[calc.basis.table.atom]
    matrices = {}
    for name in calc.available:
        matrix = calc.require(name)
        blocks = []
        for index in range(len(matrix.pairs)):
            i, j = int(matrix.pairs.i[index]), int(matrix.pairs.j[index])
            rows = inside[basis.offsets[i] : basis.offsets[i + 1]]
            cols = inside[basis.offsets[j] : basis.offsets[j + 1]]
            begin, end = matrix.layout.starts[index : index + 2]
            block = matrix.entries[:, begin:end].reshape(-1, len(rows), len(cols))
            blocks.append(block[:, rows][:, :, cols].reshape(len(block), -1))
        matrices[name] = AOMatrix(
            name, matrix.structure, basis, matrix.pairs, matrix.spin, np.concatenate(blocks, axis=1)
        )
    return replace_matrices(calc, basis, matrices)


def replace_matrices(calc, basis, matrices):
    return type(calc)(calc.structure, basis, calc.spin, matrices)


@given(seed=st.integers(0, 2**32 - 1), spin=st.sampled_from(SPINS))
@settings(max_examples=10)
def test_folding_keeps_the_spectrum(seed, spin):
    calc = random_calculation(seed, spin)
    folded = fold_into_cell(calc)
    assert folded.structure.fractional.min() > -1e-12
    assert folded.structure.fractional.max() < 1.0
    k = [0.13, -0.21, 0.37]
    np.testing.assert_allclose(spectrum_of(folded, k), spectrum_of(calc, k), atol=1e-10)
    for index in range(0, len(calc.hamiltonian.pairs), 7):
        before = _vector(calc, index)
        np.testing.assert_allclose(_vector(folded, index), before, atol=1e-9)


def _vector(calc, index):
    pairs, positions = calc.hamiltonian.pairs, calc.structure.positions
    moved = positions[pairs.j[index]] + pairs.R[index] @ calc.structure.cell
    return moved - positions[pairs.i[index]]


@pytest.mark.parametrize("layout", ["old", "new"])
@pytest.mark.parametrize("name", ["graphene", "si2_get_S"])
def test_real_runs_come_back_exactly(bundled, tmp_path, name, layout):
    calc = abacus.read(bundled / "abacus" / name)
    write_run(calc, tmp_path / "run", layout=layout)
    again = abacus.read(tmp_path / "run")
    assert again.available == calc.available
    assert again.fermi_level == calc.fermi_level
    assert again.provenance.extra["species"] == calc.provenance.extra["species"]
    np.testing.assert_allclose(again.structure.positions, calc.structure.positions, atol=1e-14)
    for quantity in calc.available:
        mine, theirs = calc.require(quantity).aligned(again.require(quantity))
        scale = np.abs(mine.entries).max()
        np.testing.assert_allclose(theirs.entries, mine.entries, rtol=0, atol=1e-14 * scale)


def test_written_file_reads_as_abacus_own_by_the_second_reader(bundled, tmp_path, independent):
    folder = bundled / "abacus" / "graphene"
    write_run(abacus.read(folder), tmp_path / "run")
    for name in ("data-HR-sparse_SPIN0.csr", "data-SR-sparse_SPIN0.csr"):
        original, _, count = independent.read_old(folder / "OUT.ABACUS" / f"{name}.gz")
        written, _, again = independent.read_old(tmp_path / "run" / "OUT.ABACUS" / name)
        assert (list(written), again) == (list(original), count)
        for R, block in original.items():
            np.testing.assert_allclose(written[R], block, rtol=1e-14, atol=1e-300)


def test_through_the_unified_folder(bundled, tmp_path):
    calc = abacus.read(bundled / "abacus" / "graphene")
    unified = tmp_path / "unified"
    unified.mkdir()
    options = WriteOptions()
    UNIFIED.write(calc, unified, replace(options, quantities=UNIFIED.chosen(calc, options)))
    between = UNIFIED.read(unified, None)
    write_run(between, tmp_path / "run")
    again = abacus.read(tmp_path / "run")
    info = json.loads((unified / "info.json").read_text())
    assert info["dock"]["provenance"]["code"] == "ABACUS"
    assert "C_ONCV_PBE-1.0.upf" in (tmp_path / "run" / "STRU").read_text()
    for quantity in calc.available:
        mine, theirs = calc.require(quantity).aligned(again.require(quantity))
        scale = np.abs(mine.entries).max()
        np.testing.assert_allclose(theirs.entries, mine.entries, rtol=0, atol=1e-12 * scale)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["fe", "gaas_soc", "si2"])
def test_reference_runs_come_back(shared, tmp_path, name):
    calc = abacus.read(shared / "fixtures" / "abacus" / name)
    write_run(calc, tmp_path / "run", layout="new")
    again = abacus.read(tmp_path / "run")
    for quantity in calc.available:
        mine, theirs = calc.require(quantity).aligned(again.require(quantity))
        scale = np.abs(mine.entries).max()
        np.testing.assert_allclose(theirs.entries, mine.entries, rtol=0, atol=1e-14 * scale)


def test_digits(bundled, tmp_path):
    calc = abacus.read(bundled / "abacus" / "si2_get_S")
    write_run(calc, tmp_path / "run", digits=8, suffix="eight")
    text = (tmp_path / "run" / "OUT.eight" / "data-SR-sparse_SPIN0.csr").read_bytes()
    original = (bundled / "abacus" / "si2_get_S" / "OUT.GETS" / "SR.csr").read_bytes()
    assert text.split()[12:40] == original.split()[12:40]


def test_position_matrix_is_moved_with_the_atoms(bundled, tmp_path):
    calc = abacus.read(bundled / "abacus" / "graphene")
    shift = np.array([[1, 0, -2], [0, 1, 0]])
    moved = _shifted(calc, shift)
    folded = fold_into_cell(moved)
    for quantity in ("hamiltonian", "position"):
        mine, theirs = calc.require(quantity).aligned(folded.require(quantity))
        np.testing.assert_allclose(theirs.entries, mine.entries, atol=1e-12)
    alone = moved.replace(matrices={"position": moved.require("position")})
    with pytest.raises(MissingDataError, match="needed to fold the position matrix"):
        fold_into_cell(alone).require("position")


def _shifted(calc, shift):
    """The same crystal described with atoms in other cells."""
    from dock.core.pairs import Pairs

    vectors = shift @ calc.structure.cell
    structure = replace(calc.structure, positions=calc.structure.positions + vectors)
    matrices = {}
    for name in ("hamiltonian", "overlap", "position"):
        matrix = calc.require(name)
        pairs, entries = matrix.pairs, np.array(matrix.entries)
        if name == "position":
            union = pairs.union(calc.overlap.pairs)
            overlap = calc.overlap.on_pairs(union)
            overlap = overlap.take_pairs(union.find(pairs.R, pairs.i, pairs.j))
            sizes = matrix.layout.rows * matrix.layout.cols
            entries += np.repeat(vectors[pairs.i], sizes, axis=0).T * overlap.entries[0]
        moved = Pairs(pairs.R - shift[pairs.j] + shift[pairs.i], pairs.i, pairs.j, pairs.n_atoms)
        matrices[name] = replace(matrix, structure=structure, pairs=moved, entries=entries)
    return type(calc)(structure, calc.basis, calc.spin, matrices)


def test_pauli_components(rng):
    pauli = rng.normal(size=(4, 7))
    entries = from_pauli(pauli.astype(complex))
    np.testing.assert_allclose(to_pauli(entries), pauli, atol=1e-15)
    _, ud, du, _ = entries
    # m_x = 2 Re ρ_ud, m_y = −2 Im ρ_ud (see Spin), for the part that ABACUS keeps
    np.testing.assert_allclose(2 * ud.real, pauli[1], atol=1e-15)
    np.testing.assert_allclose(-2 * ud.imag, pauli[2], atol=1e-15)
    np.testing.assert_allclose(du, ud.conj(), atol=1e-15)


def test_spinor_density_matrix_is_refused_where_it_would_be_cut(tmp_path):
    calc = random_calculation(5, Spin.NONCOLLINEAR, ("overlap", "density_matrix"))
    with pytest.raises(LossError, match="only charge and moments"):
        write_run(calc, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    options = WriteOptions(allow_lossy=True, quantities=("overlap", "density_matrix"))
    abacus.FORMAT.write(calc, tmp_path / "run", options)
    first = abacus.read(tmp_path / "run")
    assert "Pauli" in " ".join(first.provenance.extra["notes"])
    write_run(first, tmp_path / "again")  # what ABACUS can hold comes back
    second = abacus.read(tmp_path / "again")
    mine, theirs = first.density_matrix.aligned(second.density_matrix)
    np.testing.assert_allclose(theirs.entries, mine.entries, atol=1e-14)
    assert first.density_matrix.hermiticity_error() < 1e-13
    folded = fold_into_cell(calc.permute_atoms([0, 1, 3, 2]))
    assert (
        abs(first.density_matrix.dot(first.overlap) - folded.density_matrix.dot(folded.overlap))
        < 1e-10
    )


@pytest.mark.parametrize(
    ("setting", "value"), [("layout", "newest"), ("digits", "20"), ("digits", "many")]
)
def test_wrong_settings(bundled, tmp_path, setting, value):
    calc = abacus.read(bundled / "abacus" / "si2_get_S")
    with pytest.raises(UsageError, match=f"the setting {setting} is .* found '{value}'"):
        write_run(calc, tmp_path / "run", **{setting: value})
