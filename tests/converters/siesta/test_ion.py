"""SIESTA basis files: the three formats agree, and damaged ones are refused."""

import numpy as np
import pytest

from dock.converters.siesta.ion import read_ion
from dock.errors import FormatError, MissingDataError
from dock.overlap.radial import shell_norm
from dock.units import SIESTA4

TABLE = "\n".join(f"  {0.1 * k:.10f}  {np.exp(-0.3 * k):.10f}" for k in range(6))


def xml_text(**changes):
    parts = {
        "norbs": "1",
        "npts": "6",
        "delta": "0.1",
        "cutoff": "0.5",
        "data": TABLE,
        "l": "1",
        "end": "</ion>",
    } | changes
    return f"""<ion version="0.1">
<symbol> Xy </symbol><label> Xy_1 </label><z> 14 </z><valence> 4.0 </valence>
<norbs_nl> {parts["norbs"]} </norbs_nl> <nprojs_nl> 1 </nprojs_nl>
<preamble> a < b & c, Charge= 0.17977+309 </preamble>
<paos> <orbital
 l=" {parts["l"]}"
 n=" 3" z=" 1" ispol=" 0" population=" 0.0" >
<radfunc> <npts> {parts["npts"]} </npts> <delta> {parts["delta"]} </delta>
<cutoff> {parts["cutoff"]} </cutoff> <data>
{parts["data"]}
</data> </radfunc> </orbital> </paos>
<kbs> <projector l=" 0" n=" 1" ref_energy=" 1.0" > <radfunc> <npts> 2 </npts>
<delta> 0.4 </delta> <cutoff> 1.25 </cutoff> <data> 0.0 1.0 0.4 0.0 </data></radfunc></projector>
</kbs> {parts["end"]}
"""


def ion_text(drop=0):
    lines = [
        "<preamble>", "</preamble>", "Xy   # Symbol", "Xy_1  # Label", "  14   # Atomic number",
        "  4.0   # Valence charge", " 28.0   # Mass", " 1.0   # Self energy",
        " 1 1   # Lmax for basis, no. of nl orbitals", " 0 1   # Lmax for projectors, no. of",
        "# PAOs:____", " 1 3 1 0 0.0  #orbital l, n, z, is_polarized, population",
        " 6 0.1 0.5  # npts, delta, cutoff", *TABLE.splitlines(), "# KBs:____",
        " 0 1 1.0  #kb l, n", " 2 0.4 1.25  # npts, delta, cutoff", " 0.0 1.0", " 0.4 0.0",
    ]  # fmt: skip
    return "\n".join(lines[: len(lines) - drop]) + "\n"


def write(tmp_path, text, name="Xy.ion.xml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_xml_and_text_hold_the_same(tmp_path):
    one = read_ion(write(tmp_path, xml_text()))
    two = read_ion(write(tmp_path, ion_text(), "Xy.ion"))
    for ion in (one, two):
        assert (ion.symbol, ion.label, ion.number, ion.valence) == ("Xy", "Xy_1", 14, 4.0)
        assert ion.projector_cutoff_bohr == 1.25
        (orbital,) = ion.orbitals
        assert (orbital.l, orbital.n, orbital.zeta, orbital.polarised) == (1, 3, 1, False)
        assert np.allclose(orbital.values, np.exp(-0.3 * np.arange(6)), atol=1e-9)


def test_units_and_the_power_of_r(tmp_path):
    (shell,) = read_ion(write(tmp_path, xml_text())).shells(SIESTA4)
    bohr = SIESTA4.bohr_angstrom
    r = 0.1 * np.arange(6)
    assert np.allclose(shell.radial.r, r * bohr)
    assert np.allclose(shell.radial.values, r * np.exp(-3 * r) / bohr**1.5, atol=1e-9)
    assert shell.radial.cutoff == pytest.approx(0.5 * bohr)
    assert shell.label == "3p z1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"end": ""}, "the file is cut"),
        ({"norbs": "2"}, "norbs_nl and the tables disagree.*Expected 2 tables.*Found 1"),
        ({"npts": "7"}, "the table is cut.*Expected 7 points"),
        ({"data": TABLE.replace("0.3000000000", "0.3100000000", 1)}, "mesh is not even"),
        ({"data": TABLE + " 0.6"}, "a table is cut"),
        ({"data": TABLE.replace("1.0000000000", "NaN", 1)}, "not finite"),
        ({"data": TABLE.replace("1.0000000000", "one", 1)}, "holds a word"),
        ({"cutoff": "0.9"}, "mesh does not fit the cutoff"),
        ({"delta": "x"}, "delta is not a number"),
        ({"l": "9"}, "angular momentum is out of range.*0 to 6"),
        ({"l": ""}, "attribute l is not a number"),
    ],
)
def test_damaged_xml(tmp_path, changes, message):
    with pytest.raises(FormatError, match=message):
        read_ion(write(tmp_path, xml_text(**changes)))


@pytest.mark.parametrize("drop", [1, 3, 6, 9, 14])
def test_cut_text(tmp_path, drop):
    with pytest.raises(FormatError, match=r"cut|disagree|wrong"):
        read_ion(write(tmp_path, ion_text(drop), "Xy.ion"))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(MissingDataError, match=r"nothing\.ion"):
        read_ion(tmp_path / "nothing.ion")
    with pytest.raises(FormatError, match=r"no SIESTA \.ion file"):
        read_ion(write(tmp_path, "hello\n"))
    (tmp_path / "b.ion").write_bytes(b"\xff\xfe\x00\x81" * 9)
    with pytest.raises(FormatError, match="neither a text nor a NetCDF"):
        read_ion(tmp_path / "b.ion")
    (tmp_path / "c.ion.nc").write_bytes(b"CDF\x01" + b"\x00" * 40)
    with pytest.raises(FormatError, match=r"no SIESTA \.ion\.nc file"):
        read_ion(tmp_path / "c.ion.nc")
    (tmp_path / "e.ion.nc").write_bytes(b"CDF\x01" + b"\x00" * 3 + b"\x01" + b"\xff" * 6)
    with pytest.raises(FormatError, match="NetCDF"):
        read_ion(tmp_path / "e.ion.nc")
    (tmp_path / "d.ion.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\x00" * 40)
    with pytest.raises(FormatError, match="NetCDF"):
        read_ion(tmp_path / "d.ion.nc")


def test_netcdf4(tmp_path):
    import h5py

    path = tmp_path / "Xy.ion.nc"
    with h5py.File(path, "w") as file:
        file.attrs.update({"Element": "Xy", "Label": "Xy_1", "Atomic_number": 14})
        file.attrs["Valence_charge"] = 4.0
        for name, values in (("l", [1]), ("n", [3]), ("z", [1]), ("ispol", [0])):
            file[f"orbnl_{name}"] = values
        file["cutoff"], file["delta"] = [0.5], [0.1]
        file["orb"] = np.exp(-0.3 * np.arange(6))[None, :]
        file["kbcutoff"] = [1.25]
    found, expected = read_ion(path), read_ion(write(tmp_path, xml_text()))
    assert np.allclose(found.orbitals[0].values, expected.orbitals[0].values, atol=1e-9)
    assert found.projector_cutoff_bohr == 1.25
    with h5py.File(path, "r+") as file:
        del file["delta"]
    with pytest.raises(FormatError, match="no delta"):
        read_ion(path)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("folder", "name"),
    [("fixtures/siesta/graphene", "C"), ("fixtures/siesta/h2o", "O"), ("public/siesta/Si", "Si")],
)
def test_real_files_agree(shared, folder, name):
    xml = read_ion(shared / folder / f"{name}.ion.xml")
    others = [read_ion(shared / folder / f"{name}.ion.nc")]
    if (shared / folder / f"{name}.ion").is_file():
        others.append(read_ion(shared / folder / f"{name}.ion"))
    assert all(abs(shell_norm(shell) - 1) < 1e-6 for shell in xml.shells())
    for other in others:
        assert (other.label, other.number, other.valence) == (xml.label, xml.number, xml.valence)
        assert other.projector_cutoff_bohr == pytest.approx(xml.projector_cutoff_bohr, rel=1e-9)
        for mine, theirs in zip(xml.orbitals, other.orbitals, strict=True):
            assert (mine.l, mine.n, mine.zeta) == (theirs.l, theirs.n, theirs.zeta)
            assert np.allclose(mine.values, theirs.values, atol=1e-10)
