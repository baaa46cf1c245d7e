"""Names, detection, STRU and log: the small files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from synthetic import seeds

import dock.converters.abacus as abacus
from dock.converters.abacus.run import MATRIX_NAMES, find_run, parse_name
from dock.converters.abacus.running_log import read_log
from dock.converters.abacus.stru import BOHR, Species, format_stru, read_stru
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError


def test_every_name_is_understood_in_one_way():
    for naming, (quantity, name) in enumerate(MATRIX_NAMES):
        text = name.replace("<s0>", "0").replace("<s1>", "1").replace("<g>", "")
        found = parse_name(Path(text))
        assert (found.quantity, found.naming, found.channel, found.step) == (
            quantity,
            naming,
            0,
            None,
        )
        assert parse_name(Path(text + ".gz")).naming == naming
        assert parse_name(Path(text + ".bak")) is None


def test_detection(bundled, tmp_path):
    folder = bundled / "abacus" / "graphene"
    out = folder / "OUT.ABACUS"
    assert abacus.FORMAT.detect(folder) == out
    assert abacus.FORMAT.detect(out) == out
    for name in ("running_scf.log", "data-HR-sparse_SPIN0.csr.gz"):
        assert abacus.FORMAT.detect(out / name) == out / name
        assert abacus.read(out / name).n_electrons == 8.0
    for other in (folder / "STRU", out / "istate.info", tmp_path, tmp_path / "nothing"):
        assert abacus.FORMAT.detect(other) is None
    for code in ("openmx/si", "unified/si", "siesta/h2o"):
        assert abacus.FORMAT.detect(bundled / code) is None
    assert {path.name for path in abacus.FORMAT.inputs(out)} >= {"STRU", "running_scf.log"}


def test_a_csr_file_of_something_else(tmp_path):
    (tmp_path / "SR.csr").write_text("1 2 3\n")
    assert abacus.FORMAT.detect(tmp_path) is None
    assert abacus.FORMAT.detect(tmp_path / "SR.csr") is None


def test_steps_in_files_of_their_own(bundled, tmp_path):
    import gzip
    import shutil

    folder = bundled / "abacus" / "graphene"
    out = tmp_path / "OUT.x"
    (out / "matrix").mkdir(parents=True)
    shutil.copy(folder / "OUT.ABACUS" / "running_scf.log", out / "running_md.log")
    shutil.copy(folder / "STRU", tmp_path)
    for kind in ("HR", "SR"):
        text = gzip.decompress(
            (folder / f"OUT.ABACUS/data-{kind}-sparse_SPIN0.csr.gz").read_bytes()
        )
        for step in (0, 3):
            changed = text.replace(b"STEP: 0", b"STEP: %d" % step)
            (out / "matrix" / f"{step}_data-{kind}-sparse_SPIN0.csr").write_bytes(changed)
    assert find_run(out).step == 3
    assert find_run(out, 0).step == 0
    assert find_run(out / "matrix" / "0_data-SR-sparse_SPIN0.csr").step == 0
    assert abacus.read(tmp_path, step=0).hamiltonian is not None
    with pytest.raises(MissingDataError, match="ionic step 5"):
        find_run(out, 5)
    with pytest.raises(MissingDataError, match="positions of ionic step 3"):
        abacus.read(tmp_path)


STRU = """ATOMIC_SPECIES
Fe1 55.8 Fe.upf upf201 // up
Fe2 55.8 Fe.upf
NUMERICAL_ORBITAL
a_4s2p.orb
b_2s1p.orb
LATTICE_CONSTANT
2.0 # Bohr
LATTICE_VECTORS
1 0 0
0 2 0
0 0 3
ATOMIC_POSITIONS
{kind}
Fe1
2.5
1
{one} 0 0 0 mag 2.0
Fe2
-2.5
2
{two} m 1 1 1
{three} 1 1 1
"""


@pytest.mark.parametrize(
    ("kind", "scale"),
    [("Direct", None), ("Cartesian", 1.0), ("Cartesian_angstrom", 2 * BOHR), ("Cartesian_au", 2.0)],
)
def test_kinds_of_positions(tmp_path, kind, scale):
    wanted = np.array([[0.25, 0.5, 0.75], [1.5, -0.25, 0.0], [0.1, 0.2, 0.3]])
    rows = wanted if scale is None else wanted * [1, 2, 3] * scale
    words = [" ".join(repr(float(x)) for x in row) for row in rows]
    path = tmp_path / "STRU"
    path.write_text(STRU.format(kind=kind, one=words[0], two=words[1], three=words[2]))
    found = read_stru(path)
    assert found.labels == ("Fe1", "Fe2", "Fe2")
    assert [one.magnetism for one in found.species] == [2.5, -2.5]
    assert [one.orbital for one in found.species] == ["a_4s2p.orb", "b_2s1p.orb"]
    np.testing.assert_allclose(found.cell, np.diag([2, 4, 6]) * BOHR)
    np.testing.assert_allclose(found.fractional(found.cell), wanted, atol=1e-14)


def test_named_lattice(tmp_path):
    path = tmp_path / "STRU"
    text = STRU.format(kind="Direct", one="0 0 0", two="0 0 0.5", three="0.5 0 0")
    text = text.replace("LATTICE_VECTORS\n1 0 0\n0 2 0\n0 0 3\n", "LATTICE_PARAMETERS\n1.6\n")
    path.write_text(text)
    found = read_stru(path)
    assert found.cell is None
    assert found.lattice("triclinic") is None
    np.testing.assert_allclose(
        found.lattice("hexagonal") / (2 * BOHR), [[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, 1.6]]
    )
    assert abs(abs(np.linalg.det(found.lattice("fcc"))) / (2 * BOHR) ** 3 - 0.25) < 1e-14
    assert abs(abs(np.linalg.det(found.lattice("bcc"))) / (2 * BOHR) ** 3 - 0.5) < 1e-14


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("ATOMIC_POSITIONS", "POSITIONS", "a section is missing"),
        ("Direct", "Diretc", "unknown kind of positions"),
        ("0 0 3", "0 0", "numbers are missing"),
        ("0 0 3\n", "", "cut"),
        ("2.0 # Bohr", "nan", "numbers are missing"),
        ("Fe2\n-2.5\n2", "Fe2\n-2.5\n9", "atoms are missing"),
        ("Fe2\n-2.5\n2", "Fe2\n-2.5\nx", "a species is cut"),
    ],
)
def test_damaged_stru(tmp_path, old, new, problem):
    path = tmp_path / "STRU"
    text = STRU.format(kind="Direct", one="0 0 0", two="0 0 0.5", three="0.5 0 0")
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(FormatError, match=problem):
        read_stru(path)


@given(seed=seeds)
def test_stru_is_exact(seed, tmp_path_factory):
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) + 4 * np.eye(3)
    fractional = rng.uniform(0, 1, (5, 3))
    labels = ("O1", "O1", "H", "Fe_up", "Fe_up")
    structure = Structure(cell, fractional @ cell, np.array([8, 8, 1, 26, 26]), labels)
    species = [Species("O1", 16.0, "O.upf", "o.orb"), Species("H", 1.0), Species("Fe_up", 55.8)]
    path = tmp_path_factory.mktemp("stru") / "STRU"
    path.write_text(format_stru(structure, species, 1.7))
    found = read_stru(path)
    assert found.labels == labels
    np.testing.assert_allclose(found.cell, cell, rtol=1e-15)
    np.testing.assert_allclose(found.fractional(found.cell), fractional, atol=1e-14)


def test_log_of_the_bundled_run(bundled):
    log = read_log(bundled / "abacus" / "graphene" / "OUT.ABACUS" / "running_scf.log")
    assert [one.ls for one in log.species] == [(0, 0, 1, 1, 2)]
    assert (log.nspin, log.n_basis, log.converged, len(log.frames)) == (1, 26, True, 1)


def test_fermi_level_of_the_energy_table(bundled, tmp_path):
    text = (bundled / "abacus" / "graphene" / "OUT.ABACUS" / "running_scf.log").read_text()
    table = " E_Fermi        -0.0322963  -0.4394156\n E_Fermi        -0.03  -0.41\n"
    path = tmp_path / "running_scf.log"
    path.write_text(text.replace(" EFERMI = -0.43941564934 eV", table))
    assert "EFERMI =" not in path.read_text()
    assert read_log(path).fermi_levels[-1] == -0.41


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("atom label = C", "atom = C", "no species"),
        ("number of atom for this type", "atoms", "number of atoms is missing"),
        ("L=1, number", "L=3, number", "do not ascend"),
        ("lattice constant (Bohr)", "lattice (Bohr)", "lattice constant is missing"),
        ("DIRECT COORDINATES\n    atom", "COORD\n    atom", "coordinates are missing"),
        (
            "taud_C2            0.6666666667",
            "taud_C2            *************",
            "numbers are missing",
        ),
    ],
)
def test_damaged_log(bundled, tmp_path, old, new, problem):
    text = (bundled / "abacus" / "graphene" / "OUT.ABACUS" / "running_scf.log").read_text()
    assert old in text
    path = tmp_path / "running_scf.log"
    path.write_text(text.replace(old, new))
    with pytest.raises(FormatError, match=problem):
        read_log(path)
