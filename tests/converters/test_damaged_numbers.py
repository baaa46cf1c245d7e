"""One number in a text file of each code: damaged, or with Fortran's exponent of three digits.

A damaged one is refused with the name of its file on every numpy; the other is read.
"""

import gzip
import re
import shutil

import numpy as np
import pytest

import dock
from dock.converters import WriteOptions
from dock.converters.abacus.orb import read_orb
from dock.converters.abacus.running_log import read_log
from dock.converters.abacus.stru import read_stru
from dock.converters.deeph.poscar import read_poscar
from dock.converters.openmx.dat import read_input
from dock.converters.openmx.pao import read_pao
from dock.converters.qe.data_file_schema import read_run
from dock.converters.siesta.eig import read_eig, read_fermi, read_kp
from dock.converters.siesta.fdf import read_fdf
from dock.converters.siesta.ion import read_ion
from dock.converters.siesta.xv import read_struct_out, read_xv
from dock.errors import FormatError
from dock.units import OPENMX

FLOAT = re.compile(r"(?<![\w.+*-])[+-]?\d+\.\d+(?:[eEdD][+-]?\d+)?(?![\w.*+-])")
HS = ("hamiltonian", "overlap")

ORB = """Element                     Si
Radius Cutoff(a.u.)         2.5
Number of Sorbital-->       1
SUMMARY  END
Mesh                        6
dr                          0.5
     Type     L     N
        0     0     0
  1.0e-01  9.0e-01  4.0e-01  2.0e-01
  1.0e-01  0.0e+00
"""


def pao_text():
    x = np.linspace(-4, 1, 20)
    head = ["grid.num.output 20", "radial.cutoff.pao 2.0", "PAO.Lmax 0", "PAO.Mul 1"]
    rows = [f"{a:.15f} {np.exp(a):.15f} {np.exp(-np.exp(a)):.15f}" for a in x]
    name = "pseudo.atomic.orbitals.L=0"
    return "\n".join([*head, f"<{name}", *rows, f"{name}>"]) + "\n"


# name: (file in the fixtures, or its text; where the number stands; what is read)
FILES = {
    "POSCAR": ("unified/si/POSCAR", ("Cartesian", 3), lambda p: read_poscar(p).positions),
    "STRU": ("abacus/graphene/STRU", ("Direct", -1), lambda p: read_stru(p).coordinates),
    "running_scf.log": (
        "abacus/graphene/OUT.ABACUS/running_scf.log",
        ("taud_C2", 0),
        lambda p: read_log(p).frames[0].coordinates,
    ),
    "Si.orb": (ORB, ("Type", -2), lambda p: read_orb(p).orbitals[0][2]),
    "h2o.dat": (
        "openmx/h2o/h2o.dat",
        ("<Atoms.SpeciesAndCoordinates", 1),
        lambda p: read_input(p).coordinates,
    ),
    "Si.pao": (pao_text(), ("", -1), lambda p: read_pao(p).radial[0]),
    "h2o.XV": ("siesta/h2o/h2o.XV", ("", -4), lambda p: read_xv(p).positions),
    "h2o.STRUCT_OUT": (
        "siesta/h2o/h2o.STRUCT_OUT",
        ("", -1),
        lambda p: read_struct_out(p).positions,
    ),
    "h2o.EIG": ("siesta/h2o/h2o.EIG", ("", -1), lambda p: read_eig(p).energies),
    "fermi.EIG": ("siesta/h2o/h2o.EIG", ("", 0), read_fermi),
    "h2o.KP": ("siesta/h2o/h2o.KP", ("", 1), lambda p: read_kp(p).cartesian),
    "h2o.fdf": (
        "siesta/h2o/h2o.fdf",
        ("AndAtomicSpecies", 3),
        lambda p: read_fdf(p).atoms(OPENMX).positions,
    ),
    "Si.ion": (
        "qe/si_3s3p2d/Si.ion",
        ("", -1),
        lambda p: [orbital.values for orbital in read_ion(p).orbitals],
    ),
    "data-file-schema.xml": (
        "qe/si/si.save/data-file-schema.xml",
        ("<eigenvalues", 0),
        lambda p: read_run(p).levels,
    ),
}
# name: (format to write, its settings, where the number stands, what is read)
RUNS = {
    "site_positions.dat": ("deeph-legacy", {}, 0, lambda calc: calc.structure.positions),
    "geometry.in": ("aims", {"mode": "periodic"}, -1, lambda calc: calc.structure.positions),
    "rs_hamiltonian.out": ("aims", {"mode": "periodic"}, 9, lambda calc: calc.hamiltonian.entries),
    "data-HR-sparse_SPIN0.csr": ("abacus", {}, 99, lambda calc: calc.hamiltonian.entries),
}
DAMAGE = ("3.0***", "1.0.0", "--1", "1.0-1.0")


def replaced(text, place, word):
    """Return a text with another word in place of one of its numbers."""
    marker, number = place
    begin = text.index(marker) + len(marker)
    match = list(FLOAT.finditer(text, begin))[number]
    return text[: match.start()] + word + text[match.end() :]


def check(path, text, place, read):
    """Hold what is read of a file against its damage."""
    for word in DAMAGE:
        path.write_text(replaced(text, place, word))
        with pytest.raises(FormatError) as caught:
            read(path)
        assert path.name in str(caught.value)
    found = []
    for word in ("-1.18764861E-102", "-1.18764861-102"):
        path.write_text(replaced(text, place, word))
        found.append(read(path))
    path.write_text(replaced(text, place, "0.5"))
    np.testing.assert_array_equal(found[1], found[0])
    assert not np.array_equal(read(path), found[0])


@pytest.mark.parametrize("name", FILES)
def test_files(bundled, tmp_path, name):
    source, place, read = FILES[name]
    text = source if "\n" in source else (bundled / source).read_text()
    check(tmp_path / name, text, place, read)


@pytest.mark.parametrize("name", RUNS)
def test_runs(bundled, tmp_path, name):
    code, settings, number, read = RUNS[name]
    if code == "abacus":
        folder = tmp_path / "OUT.ABACUS"
        shutil.copytree(bundled / "abacus" / "graphene", tmp_path, dirs_exist_ok=True)
        (folder / name).write_bytes(gzip.decompress((folder / f"{name}.gz").read_bytes()))
        (folder / f"{name}.gz").unlink()
    else:
        options = WriteOptions(quantities=HS, settings=settings)
        dock.write(dock.read(bundled / "siesta" / "h2o"), tmp_path / "run", code, options)
        folder = tmp_path / "run"
    path = folder / name
    check(path, path.read_text(), ("", number), lambda p: read(dock.read(p.parent, code)))
