"""Folders of basis files: detection, choice by species, and what is refused."""

import numpy as np
import pytest

from dock.converters.basis_files import (
    basis_for,
    detect_code,
    read_basis_folder,
)
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError, UsageError


def test_nothing_or_too_much(tmp_path):
    with pytest.raises(MissingDataError, match="the folder of basis files is missing"):
        detect_code(tmp_path / "none")
    with pytest.raises(MissingDataError, match=r"a basis file is missing.*\*\.pao \(openmx\)"):
        detect_code(tmp_path)
    (tmp_path / "Si.orb").touch()
    assert detect_code(tmp_path) == "abacus"
    (tmp_path / "Si.ion.xml").touch()
    with pytest.raises(UsageError, match=r"siesta and abacus\. Choose with code='siesta'"):
        detect_code(tmp_path)


def test_unknown_code_and_missing_strings(tmp_path):
    (tmp_path / "C6.0.pao").touch()
    with pytest.raises(UsageError, match=r"no basis files of 'vasp'\. Known codes: siesta"):
        read_basis_folder(tmp_path, "vasp")
    with pytest.raises(MissingDataError, match=r"C=C6\.0-s2p2d1"):
        read_basis_folder(tmp_path)
    with pytest.raises(MissingDataError, match=r"a basis file \*\.orb is missing"):
        read_basis_folder(tmp_path, "abacus")


@pytest.mark.shared
def test_real_folders(shared):
    siesta = read_basis_folder(shared / "fixtures/siesta/h2o", "siesta")
    assert set(siesta) == {"H", "O"}
    assert siesta["O"].path.name == "O.ion.xml"
    assert siesta["O"].valence == 6
    assert siesta["O"].projector_cutoff > 0.3
    strings = {"C1": "C5.0-s2p2d1", "H": "H5.0-s2p1"}
    openmx = read_basis_folder(shared / "public/openmx/pao", strings=strings)
    assert [shell.l for shell in openmx["C1"].shells] == [0, 0, 1, 1, 2]
    with pytest.raises(UsageError, match="are both for the species Si"):
        read_basis_folder(shared / "public/abacus/orb")


@pytest.mark.shared
def test_species_are_found_by_label_then_by_element(shared):
    species = read_basis_folder(shared / "fixtures/siesta/h2o")
    box = Structure(np.eye(3) * 9, [[0, 0, 0], [1, 0, 0]], [8, 1], ("O_water", "H"))
    basis = basis_for(box, species)
    assert basis.shells["O_water"] == species["O"].shells
    alien = Structure(np.eye(3) * 9, [[0, 0, 0]], [26])
    with pytest.raises(MissingDataError, match=r"basis of species Fe is missing\. They hold: H, O"):
        basis_for(alien, species)


def test_files_of_basis_sets_are_cp2ks_but_for_siestas_enthalpy(tmp_path):
    (tmp_path / "BASIS_ENTHALPY").write_text("-1.0\n")
    with pytest.raises(MissingDataError, match=r"\*BASIS\*"):
        detect_code(tmp_path)
    file = tmp_path / "BASIS_SET"
    file.write_text("# mine\nSi one-s ONE-S-long\n 1\n 3 0 0 1 1\n 0.5 1.0\n")
    assert detect_code(tmp_path) == detect_code(file) == "cp2k"
    with pytest.raises(MissingDataError, match="such as Si=SZV-MOLOPT-SR-GTH"):
        read_basis_folder(tmp_path)
    for name in ("one-s", "ONE-S-LONG"):
        found = read_basis_folder(file, strings={"Si1": name})["Si1"]
        assert (found.number, [shell.l for shell in found.shells]) == (14, [0])
    with pytest.raises(MissingDataError, match="the basis set TWO of Si"):
        read_basis_folder(tmp_path, strings={"Si": "TWO"})
    for old, new in (("0.5 1.0", "0.5"), ("0.5 1.0", "-0.5 1.0"), ("3 0 0 1 1", "3 1 0 1 1")):
        file.write_text(file.read_text().replace(old, new))
        with pytest.raises(FormatError, match="BASIS_SET"):
            read_basis_folder(tmp_path, strings={"Si": "one-s"})
        file.write_text(file.read_text().replace(new, old))
