"""FHI-aims: the public runs, what is written and read again, and the conventions one by one."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from synthetic import seeds

import dock
import dock.converters.aims as aims
from dock.converters.aims.reader import SECOND_VARIATION
from dock.converters.aims.rs_files import fold_shifts
from dock.converters.aims.shell_kinds import shell_kinds
from dock.converters.deeph import FORMAT as UNIFIED
from dock.converters.format import WriteOptions
from dock.core.basis import Basis, Shell
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import FormatError, LossError, MissingDataError, UsageError

HARTREE = 27.2113845


def assert_same(first, second, rtol=1e-13):
    for quantity in first.available:
        mine, theirs = first.require(quantity).aligned(second.require(quantity))
        scale = np.abs(mine.entries).max()
        np.testing.assert_allclose(theirs.entries, mine.entries, rtol=0, atol=rtol * scale)


# ----------------------------------------------------------------------------- the public runs


@pytest.mark.shared
def test_public_runs(shared, validation):
    rows = list(validation.rows(shared))
    assert len(rows) == 15
    assert not [row for row in rows if not row[2] <= row[3]]


@pytest.mark.shared
def test_wrong_shells_would_break_the_site_symmetry(shared, validation):
    calc = aims.read(shared / "public" / "aims" / "Si")
    assert validation.site_asymmetry(calc, "hamiltonian") < 1e-6
    # s and f exchanged: the same functions, grouped wrongly
    assert validation.site_asymmetry(calc, "hamiltonian", (3, 2, 1, 1, 1, 0, 0, 0, 0)) > 1.0


@pytest.mark.shared
def test_structure_and_basis_of_mos2(shared):
    calc = aims.read(shared / "public" / "aims" / "MoS2")
    assert calc.structure.labels == ("S", "Mo", "S")
    assert calc.spin is Spin.COLLINEAR
    assert calc.n_electrons == 74.0
    assert calc.fermi_level is None
    assert SECOND_VARIATION in calc.provenance.extra["notes"]
    labels = [shell.label for shell in calc.basis.shells["S"]]
    assert labels[:4] == ["atomic 1s", "atomic 2s", "ionic 3s", "atomic 3s"]
    gap_up, gap_down = (_gap(calc, spin) for spin in (0, 1))
    assert abs(gap_up - 1.868) < 1e-3
    assert abs(gap_up - gap_down) < 1e-4


def _gap(calc, spin):
    import scipy.linalg

    k = [1 / 3, 1 / 3, 0]
    levels = scipy.linalg.eigvalsh(calc.hamiltonian.k(k)[spin], calc.overlap.k(k))
    return levels[37] - levels[36]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["Si", "MoS2"])
def test_public_runs_come_back(shared, tmp_path, write, name):
    calc = aims.read(shared / "public" / "aims" / name)
    write(calc, tmp_path / "run")
    again = aims.read(tmp_path / "run")
    assert_same(calc, again)
    assert len(again.overlap.pairs) == len(calc.overlap.pairs)
    np.testing.assert_array_equal(again.structure.positions, calc.structure.positions)
    first, second = (
        [shell.label for shell in one.basis.shells[name[:2] if name == "Si" else "Mo"]]
        for one in (calc, again)
    )
    assert first == second


# ------------------------------------------------------------------------------ round trips


@given(seed=st.integers(0, 2**32 - 1), spin=st.sampled_from([Spin.NONE, Spin.COLLINEAR]))
@settings(max_examples=12)
def test_random_matrices_come_back(tmp_path_factory, make, write, seed, spin):
    calc = make(seed, spin)
    folder = tmp_path_factory.mktemp("aims") / "run"
    write(calc, folder)
    again = aims.read(folder)
    assert (again.spin, again.fermi_level, again.n_electrons) == (spin, -3.5, 14.0)
    assert again.structure.labels == calc.structure.labels
    np.testing.assert_allclose(again.structure.positions, calc.structure.positions, rtol=1e-15)
    assert_same(calc, again)


def test_shells_are_sorted(tmp_path, make, write):
    calc = make(4, ls={"C1": [2, 0, 1], "C2": [1, 0], "H": [1, 0, 0]})
    write(calc, tmp_path / "run")
    again = aims.read(tmp_path / "run")
    assert [again.basis.ls(label) for label in ("C1", "C2", "H")] == [(0, 1, 2), (0, 1), (0, 0, 1)]
    assert abs(again.hamiltonian.dot(again.overlap) - calc.hamiltonian.dot(calc.overlap)) < 1e-9


@pytest.mark.parametrize("spin", [Spin.NONE, Spin.COLLINEAR])
def test_hdf5(tmp_path, make, write, spin):
    calc = make(5, spin)
    names = {path.name for path in write(calc, tmp_path / "run", files="hdf5")}
    wanted = {"rs_hamiltonian.h5"}
    if spin is Spin.COLLINEAR:
        wanted = {"rs_hamiltonian_up.h5", "rs_hamiltonian_down.h5"}
    assert wanted | {"rs_overlap.h5", "rs_indices.out"} <= names
    assert_same(calc, aims.read(tmp_path / "run"))


@pytest.mark.parametrize("spin", [Spin.NONE, Spin.COLLINEAR])
def test_text_and_hdf5_of_one_run(tmp_path, make, write, spin):
    """The text is rounded: what has all digits is read, and said."""
    calc = make(5, spin)
    write(calc, tmp_path / "run", files="hdf5")
    text = [path for path in write(calc, tmp_path / "text") if path.name.startswith("rs_")]
    for path in text:
        if path.name != "rs_indices.out":
            rounded = [f"{float(word):.9E}" for word in path.read_text().split()]
            (tmp_path / "run" / path.name).write_text("\n".join(rounded) + "\n")
    again = aims.read(tmp_path / "run")
    assert_same(calc, again, rtol=1e-15)
    note = again.provenance.extra["notes"][-1]
    assert note.startswith("Two files of one matrix")
    assert all(path.name in note for path in text if path.name != "rs_indices.out")


CONTROL = """
xc pbe
  species  Mo  # 4d and 5s
    valence      5  s   1.
    valence      4  p   6.
    valence      4  d   5.
    ion_occ      5  s   0.
  species  X
    valence      1  s   1.
"""


def test_shells_are_core_valence_or_unoccupied(tmp_path):
    names = ["atomic 4s", "ionic 5s", "atomic 5s", "atomic 6s", "atomic 4p", "hydro 3d", "hydro 4f"]
    shells = tuple(Shell("spdf".index(name[-1]), name) for name in names)
    control = tmp_path / "control.in"
    basis = Basis({"Mo": shells, "H": (Shell(0, "atomic 1s"),)}, ("Mo", "H"))
    assert shell_kinds(control, basis) == {}
    control.write_text(CONTROL)
    found = shell_kinds(control, basis)
    assert found == {
        "core": {"Mo": [0]}, "valence": {"Mo": [2, 4]}, "unoccupied": {"Mo": [1, 3, 5, 6]},
    }  # fmt: skip


@pytest.mark.shared
def test_shell_lists_reach_the_folder_and_stay(shared, tmp_path):
    atom = shared / "public" / "aims" / "single_atoms" / "Mo"
    expected = json.loads((atom / "reference" / "info.json").read_text())
    dock.write(dock.read(atom), tmp_path / "first")
    dock.write(dock.read(tmp_path / "first"), tmp_path / "second")
    for name in ("first", "second"):
        info = json.loads((tmp_path / name / "info.json").read_text())
        assert info["elements_orbital_map"] == expected["elements_orbital_map"]
        for kind in ("core", "valence", "unoccupied"):
            key = f"elements_{kind}_orbital_index"
            assert info[key] == expected[key]
        assert "shell_kinds" not in info["dock"]["provenance"]["extra"]


def test_log_behind_the_words_of_mpi(tmp_path, make, write):
    write(make(5), tmp_path / "run")
    log = tmp_path / "run" / "aims.out"
    words = "".join(f"[node{n:04d}:12345] mca_base_component: unable to open\n" for n in range(900))
    log.write_text(words + log.read_text())
    assert len(words) > 40_000
    assert aims.read(tmp_path / "run").fermi_level == -3.5


def test_molecule(tmp_path, make, write):
    calc = make(6, periodic=False)
    names = {path.name for path in write(calc, tmp_path / "run")}
    assert {"hamiltonian.out", "overlap-matrix.out"} <= names
    again = aims.read(tmp_path / "run")
    assert again.structure.pbc == (False, False, False)
    assert_same(calc, again)
    write(calc, tmp_path / "box", mode="periodic")
    boxed = aims.read(tmp_path / "box")
    assert boxed.structure.pbc == (True, True, True)
    assert_same(calc, boxed)


def test_molecule_as_fhi_aims_prints_it(tmp_path, make, write):
    """Columns one after another, ``i j value`` with three digits of the exponent, Hartree."""
    calc = make(6, periodic=False)
    write(calc, tmp_path / "run")
    lines = (tmp_path / "run" / "hamiltonian.out").read_text().splitlines()
    size = calc.basis.n_orbitals
    assert len(lines) == size * (size + 1) // 2
    assert [line.split()[:2] for line in lines[:4]] == [
        ["1", "1"],
        ["1", "2"],
        ["2", "2"],
        ["1", "3"],
    ]
    value = lines[0].split()[2]
    assert value[-4] in "+-"
    assert abs(float(value) - calc.hamiltonian.block([0, 0, 0], 0, 0)[0, 0] / HARTREE) < 1e-15


def test_through_the_unified_folder(tmp_path, make, write):
    calc = make(7, ls={"C1": [0, 1], "C2": [0, 1], "H": [0]})
    write(calc, tmp_path / "first")
    source = aims.read(tmp_path / "first")
    unified = tmp_path / "unified"
    unified.mkdir()
    UNIFIED.write(source, unified, WriteOptions(quantities=source.available))
    between = UNIFIED.read(unified, None)
    assert between.structure.symbols == ("C", "C", "H", "H")
    write(between, tmp_path / "second")
    again = aims.read(tmp_path / "second")
    assert again.structure.labels == source.structure.labels  # FHI-aims' own order again
    assert_same(source, again, rtol=1e-12)


def test_not_quite_hermitian_matrices_lose_their_noise(tmp_path, make, write, rng):
    calc = make(8)
    noise = 1e-8 * rng.normal(size=calc.hamiltonian.entries.shape)
    noisy = calc.hamiltonian.with_entries(calc.hamiltonian.entries + noise)
    write(calc.replace(matrices={**calc.matrices, "hamiltonian": noisy}), tmp_path / "run")
    again = aims.read(tmp_path / "run").hamiltonian
    assert again.hermiticity_error() < 1e-13
    mine, theirs = noisy.hermitian_part().aligned(again)
    np.testing.assert_allclose(theirs.entries, mine.entries, atol=1e-13)


# -------------------------------------------------------- conventions, by the second reader


@pytest.mark.parametrize("spin", [Spin.NONE, Spin.COLLINEAR])
def test_written_files_by_the_second_reader(tmp_path, make, write, independent, spin):
    calc = make(9, spin)
    write(calc, tmp_path / "run")
    names = {"overlap": ["rs_overlap.out"], "hamiltonian": ["rs_hamiltonian.out"]}
    if spin is Spin.COLLINEAR:
        names["hamiltonian"] = ["rs_hamiltonian_up.out", "rs_hamiltonian_dn.out"]
    sign = np.array([independent.sign_of(m) for m in calc.basis.table.m])
    for quantity, files in names.items():
        unit = HARTREE if quantity == "hamiltonian" else 1.0
        for component, name in enumerate(files):
            found = independent.read_matrix(tmp_path / "run", name)
            matrix = calc.require(quantity)
            for R in matrix.pairs.lattice_vectors.tolist():
                wanted = matrix.to_csr(R, component).toarray() * np.outer(sign, sign)
                block = found.get(tuple(R), np.zeros_like(wanted)) * unit
                np.testing.assert_allclose(block, wanted, atol=1e-12)


@pytest.mark.shared
def test_silicon_by_the_second_reader(shared, independent):
    folder = shared / "public" / "aims" / "Si"
    calc = aims.read(folder)
    found = independent.read_matrix(folder, "rs_overlap.out")
    sign = np.array([independent.sign_of(m) for m in calc.basis.table.m])
    for R, block in found.items():
        mine = calc.overlap.to_csr(R).toarray() * np.outer(sign, sign)
        np.testing.assert_allclose(mine, block, atol=1e-14)


@given(seed=seeds)
def test_folding(seed):
    fractional = np.random.default_rng(seed).uniform(-3, 3, (20, 3))
    folded = fractional - fold_shifts(fractional)
    assert folded.min() > -0.5
    assert folded.max() <= 0.5


@pytest.mark.parametrize("edge", [0.5, -0.5, 0.5 - 1e-8, 0.5 + 1e-8, 1.5 - 1e-7])
def test_atoms_at_the_edge_of_the_folding(tmp_path, make, write, edge):
    """Whichever way rounding folded them there, the pairs stay short."""
    from dataclasses import replace

    calc = make(10)
    fractional = calc.structure.fractional
    for atom, axis in ((1, 0), (2, 2)):
        fractional[atom, axis] = edge
    structure = replace(calc.structure, positions=fractional @ calc.structure.cell)
    from synthetic import neighbour_pairs, random_hermitian

    rng, basis = np.random.default_rng(1), calc.basis
    pairs = neighbour_pairs(structure, 3.5)
    matrices = {
        "hamiltonian": random_hermitian(rng, structure, basis, pairs),
        "overlap": random_hermitian(rng, structure, basis, pairs, quantity="overlap"),
    }
    write(type(calc)(structure, basis, Spin.NONE, matrices), tmp_path / "run")
    again = aims.read(tmp_path / "run")
    assert_same(type(calc)(structure, basis, Spin.NONE, matrices), again)
    # what another rounding would have folded is recognised from the pairs
    path = tmp_path / "run" / "geometry.in"
    lines = path.read_text().splitlines()
    moved = fractional.copy()
    moved[1, 0] += -2e-7 if edge - np.rint(edge) > 0 else 2e-7
    rows = moved @ structure.cell
    for number, row in enumerate(rows):
        words = lines[4 + number].split()
        lines[4 + number] = " ".join(["atom", *(repr(float(x)) for x in row), words[4]])
    path.write_text("\n".join(lines) + "\n")
    other = aims.read(tmp_path / "run")
    assert not other.overlap.pairs.difference(again.overlap.pairs) or _is_short(other)


def _is_short(calc):
    pairs, structure = calc.overlap.pairs, calc.structure
    vectors = structure.positions[pairs.j] + pairs.R @ structure.cell - structure.positions[pairs.i]
    return np.linalg.norm(vectors, axis=1).max() < 3.6


def test_pattern_is_built_in_slices(tmp_path, make, write, monkeypatch):
    calc = make(11)
    write(calc, tmp_path / "run")
    monkeypatch.setattr("dock.converters.aims.rs_files._SLICE", 97)
    assert_same(calc, aims.read(tmp_path / "run"))


# ------------------------------------------------------------------------------- refusals


def test_what_a_molecule_cannot_hold(tmp_path, make, write):
    with pytest.raises(LossError, match="neighbouring cells"):
        write(make(12), tmp_path / "a", mode="cluster")
    with pytest.raises(LossError, match="two spins"):
        write(make(12, Spin.COLLINEAR, periodic=False), tmp_path / "b", mode="cluster")
    with pytest.raises(UsageError, match="the setting mode is periodic or cluster, found 'x'"):
        write(make(12), tmp_path / "c", mode="x")
    with pytest.raises(UsageError, match="the setting files is text or hdf5"):
        write(make(12), tmp_path / "d", files="xml")


def test_spinors_are_refused_before_a_file_is_opened(tmp_path, make, write):
    with pytest.raises(LossError, match="noncollinear spin"):
        write(make(13, Spin.NONCOLLINEAR), tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


def test_hdf5_of_another_run(tmp_path, make, write):
    write(make(5), tmp_path / "run", files="hdf5")
    with h5py.File(tmp_path / "run" / "rs_overlap.h5", "w") as file:
        file["sparse_matrix"] = np.zeros(7)
    with pytest.raises(FormatError, match="does not fit its indices"):
        aims.read(tmp_path / "run").require("overlap")
    with h5py.File(tmp_path / "run" / "rs_overlap.h5", "w") as file:
        file["other"] = np.zeros(7)
    with pytest.raises(FormatError, match="sparse_matrix"):
        aims.read(tmp_path / "run").require("overlap")


# ------------------------------------------------------------------------------- warm start


def _warm(calc, folder, quantities=("hamiltonian",)):
    aims.WARM_START.save(calc, folder, WriteOptions(quantities=quantities))
    return folder / "deeph_warm" / "hamiltonian.h5"


@pytest.mark.parametrize("spin", [Spin.NONE, Spin.COLLINEAR])
@pytest.mark.parametrize("through_folder", [False, True])
def test_fhi_aims_finds_its_own_hamiltonian(
    tmp_path, make, write, independent, spin, through_folder
):
    """Atoms H, C, H, C, some outside the cell: the numbers that the run wrote come back."""
    calc = make(11, spin, ls={"C1": [0, 0, 1, 2], "C2": [0, 0, 1, 2], "H": [0, 1]})
    calc = calc.permute_atoms([1, 2, 3, 0])
    write(calc, tmp_path / "run")
    source = aims.read(tmp_path / "run")
    if through_folder:
        UNIFIED.save(source, tmp_path / "unified")
        source = UNIFIED.load(tmp_path / "unified")
        assert source.structure.symbols == ("H", "H", "C", "C")
    file = _warm(source, tmp_path / "warm")
    names = ["rs_hamiltonian.out"]
    if spin is Spin.COLLINEAR:
        names = ["rs_hamiltonian_up.out", "rs_hamiltonian_dn.out"]
    for component, name in enumerate(names):
        wanted = np.array(independent.read_values(tmp_path / "run", name)[:-1])
        found = independent.warm_start(tmp_path / "run", file, component)
        assert len(found) == len(wanted)
        np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=1e-15)
        assert np.abs(wanted).max() > 0.05
    with h5py.File(file) as h5:
        assert h5["entries"].dtype == (float if spin is Spin.NONE else complex)


@pytest.mark.shared
def test_fhi_aims_finds_the_hamiltonian_of_mos2(shared, tmp_path, independent):
    folder = shared / "public" / "aims" / "MoS2"
    file = _warm(aims.read(folder), tmp_path / "warm")
    for component, name in enumerate(["rs_hamiltonian_up.out", "rs_hamiltonian_dn.out"]):
        wanted = np.array(independent.read_values(folder, name)[:-1])
        found = independent.warm_start(folder, file, component)
        np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=1e-16)


def test_a_warm_start_is_a_sound_folder(tmp_path, make):
    calc = make(12, ls={"C1": [0, 1], "C2": [0, 1], "H": [0]})
    calc = replace(calc, source=str(tmp_path / "run"))
    file = _warm(calc, tmp_path / "warm", None)
    again = UNIFIED.load(file.parent)
    assert again.structure.symbols == ("C", "C", "H", "H")
    fractional = again.structure.fractional
    assert fractional.min() > -0.5 - 1e-9
    assert fractional.max() < 0.5 + 1e-9
    k = [0.1, 0.2, 0.3]
    for name in ("hamiltonian", "overlap"):
        mine, theirs = (np.linalg.eigvalsh(x.require(name).k(k)) for x in (calc, again))
        np.testing.assert_allclose(theirs, mine, atol=1e-12)
    recipe = (tmp_path / "warm/WARM_START.txt").read_text()
    assert "use_deepx_warmstart    .true." in recipe
    assert str(tmp_path) not in recipe


def test_what_a_warm_start_needs(tmp_path, make):
    calc = make(13)
    with pytest.raises(MissingDataError, match="the hamiltonian is missing"):
        _warm(calc.replace(matrices={"overlap": calc.overlap}), tmp_path / "warm", None)
    assert not list(tmp_path.iterdir())


def test_an_atom_at_the_edge_of_the_cell_is_told(tmp_path, make, caplog):
    calc = make(14, ls={"C1": [0], "C2": [0], "H": [0]})
    home = Pairs([[0, 0, 0]] * 4, range(4), range(4), 4)
    moved = replace(calc.structure, positions=np.eye(4, 3) @ calc.structure.cell / 2)
    H = AOMatrix("hamiltonian", moved, calc.basis, home, Spin.NONE, np.ones((1, 4)))
    _warm(replace(calc, structure=moved, matrices={"hamiltonian": H}), tmp_path / "warm")
    assert "stands at ±1/2" in caplog.text
