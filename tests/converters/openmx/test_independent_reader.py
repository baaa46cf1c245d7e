"""Files that we write, read by programs that are not ours: the plain reader, and ASE."""

import json
from dataclasses import replace

import numpy as np
import pytest
import samples
from scipy.linalg import eigh

from dock.converters.openmx.dat import minimal_input, parse_input
from dock.converters.openmx.scfout import ScfoutFile, box_cells, write_scfout
from dock.converters.openmx.species import Species
from dock.units import OPENMX

plain = samples.beside(__file__, "independent_scfout")

# Eigenvalues are recorded to 1e-9 eV; the rest is the conditioning of S(k).
BAND_TOLERANCE_HARTREE = 1e-9
ENERGY_TOLERANCE_HARTREE = 1e-9


def folder(shared, name):
    return shared / "fixtures" / "openmx" / name


def spin_matrices(found, k):
    """H(k) and S(k) of the plain reader's file, one pair of matrices a spin channel."""
    no = found["no"]
    overlap = plain.bloch(found["S"], k, no)
    real = [plain.bloch(one, k, no) for one in found["H"]]
    if found["spin"] != 3:
        return [(one, overlap) for one in real]
    imaginary = [plain.bloch(one, k, no) for one in found["iH"]]
    up_up, down_down = real[0] + 1j * imaginary[0], real[1] + 1j * imaginary[1]
    up_down = real[2] + 1j * (real[3] + imaginary[2])
    full = np.block([[up_up, up_down], [up_down.conj().T, down_down]])
    return [(full, np.kron(np.eye(2), overlap))]


def bands(found, k):
    """Eigenvalues in Hartree of every spin channel."""
    return [
        eigh((H + H.conj().T) / 2, (S + S.conj().T) / 2, eigvals_only=True)
        for H, S in spin_matrices(found, k)
    ]


@pytest.mark.shared
@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("name", ["si", "graphene-v38", "fe-spin", "o2-nc-soc", "mos2"])
def test_rewritten_files_give_the_bands_of_openmx(shared, tmp_path, name, byte_order):
    source = ScfoutFile.open(folder(shared, name) / f"{name}.scfout")
    target = tmp_path / "again.scfout"
    write_scfout(target, source.load(), version=source.version, byte_order=byte_order)
    found = plain.read(target.read_bytes(), {"little": "<", "big": ">"}[byte_order])
    assert found["left"] == 0
    reference = json.loads((folder(shared, name) / "reference.json").read_text())["bands"]
    k_frac = reference["kpoints_frac"]
    expected = np.array(reference["energies_eV"]) / OPENMX.hartree_ev
    for index in (0, 3, len(k_frac) - 1):
        values = np.array(bands(found, k_frac[index]))
        np.testing.assert_allclose(values, expected[:, index], atol=BAND_TOLERANCE_HARTREE, rtol=0)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["h2o", "o2-spin", "o2-nc-soc", "si"])
def test_rewritten_files_give_the_band_energy(shared, tmp_path, name):
    source = ScfoutFile.open(folder(shared, name) / f"{name}.scfout")
    target = tmp_path / "again.scfout"
    write_scfout(target, source.load())
    found = plain.read(target.read_bytes())

    def trace(one, two):
        return sum(np.vdot(one[key], two[key]) for key in one)

    H, DM, iH, iDM = found["H"], found["DM"], found["iH"], found["iDM"]
    energy = sum(trace(rho, h) for rho, h in zip(DM[:2], H[:2], strict=True))
    if found["spin"] == 0:
        energy *= 2
    if found["spin"] == 3:
        energy -= trace(iDM[0], iH[0]) + trace(iDM[1], iH[1])
        energy += 2 * (trace(DM[2], H[2]) - trace(DM[3], H[3]) - trace(DM[3], iH[2]))
    reference = json.loads((folder(shared, name) / "reference.json").read_text())
    expected = reference["band_energy_Uele_Ha"]
    assert energy == pytest.approx(expected, abs=ENERGY_TOLERANCE_HARTREE)


@pytest.mark.shared
def test_a_short_cell_table_reads_the_same(shared, tmp_path):
    source = ScfoutFile.open(folder(shared, "si") / "si.scfout").load()
    used, index = np.unique(source.pair_R, axis=0, return_inverse=True)
    home = int(np.flatnonzero(~used.any(axis=1))[0])
    order = np.concatenate([[home], np.delete(np.arange(len(used)), home)])
    short = replace(source, cells=used[order], pair_cell=np.argsort(order)[index.ravel()])
    target = tmp_path / "short.scfout"
    write_scfout(target, short)
    found = plain.read(target.read_bytes())
    assert len(found["ijk"]) == len(used) < len(source.cells)
    original = plain.read((folder(shared, "si") / "si.scfout").read_bytes())
    assert found["H"] == original["H"]


def test_a_file_made_from_nothing(tmp_path):
    """Two atoms of another code, with the generated input text and the full box of cells."""
    base = ScfoutFile.open(save(tmp_path, plain.build())).load()
    cells = box_cells(1)
    place = {tuple(cell): number for number, cell in enumerate(cells.tolist())}
    index = np.array([place[tuple(cell)] for cell in base.pair_R.tolist()])
    species = [Species.parse("H", "H5.0-s1", "H_PBE19"), Species.parse("B", "B7.0-s1p1", "B_PBE19")]
    text = minimal_input(species, [0, 1], base.positions, base.cell, system_name="made")
    target = tmp_path / "made.scfout"
    write_scfout(target, replace(base, cells=cells, pair_cell=index, input_text=text))
    found = plain.read(target.read_bytes())
    assert found["left"] == 0
    assert b"".join(found["lines"]).decode() == text
    again = parse_input(text, target)
    assert not again.contracted(found["no"])
    np.testing.assert_array_equal(again.positions_bohr, found["xyz"])
    np.testing.assert_array_equal(again.cell_bohr, found["tv"])
    np.testing.assert_allclose(found["atv"], found["ijk"] @ np.array(found["tv"]), atol=1e-14)
    np.testing.assert_allclose(
        np.array(found["tv"]) @ np.array(found["rtv"]).T, 2 * np.pi * np.eye(3), atol=1e-13
    )


def save(where, data):
    path = where / "base.scfout"
    path.write_bytes(data)
    return path


@pytest.fixture
def ase_reader(monkeypatch):
    """ASE's reader of version 0, which needs the ragged arrays that numpy < 1.24 made.

    It reads non-spin and collinear files only: of a non-collinear file it takes four imaginary
    matrices where there are three.
    """
    from ase.calculators.openmx.reader import read_scfout_file

    def ragged_split(array, places):
        pieces = np.empty(len(places) + 1, dtype=object)
        for number, (start, stop) in enumerate(
            zip([0, *places], [*places, len(array)], strict=True)
        ):
            pieces[number] = array[start:stop]
        return pieces

    monkeypatch.setattr(np, "split", ragged_split)
    return read_scfout_file


@pytest.mark.parametrize("spin", [0, 1])
def test_ase_reads_version_0(tmp_path, ase_reader, spin):
    data = plain.build(spin=spin, version=3, no=(2, 4))
    source = ScfoutFile.open(save(tmp_path, data)).load()
    target = tmp_path / "old.scfout"
    write_scfout(target, source, version=0, allow_lossy=True)
    found = ase_reader(str(target))
    assert found["atomnum"] == 2
    assert found["SpinP_switch"] == spin
    assert found["Valence_Electrons"] == source.n_electrons
    assert found["ChemP"] == source.chemical_potential
    np.testing.assert_array_equal(found["tv"][1:, 1:], source.cell)
    np.testing.assert_array_equal(np.concatenate(found["natn"][1:]), source.pair_j + 1)
    for key, section in (("Hks", "hamiltonian"), ("DM", "density")):
        for component in range(spin + 1):
            np.testing.assert_array_equal(
                flat_ase(found[key][component]), source.matrices[section][component]
            )
    np.testing.assert_array_equal(flat_ase(found["OLP"]), source.matrices["overlap"][0])
    for number, axis in enumerate("xyz"):
        np.testing.assert_array_equal(
            flat_ase(found[f"OLPpo{axis}"]), source.matrices["position"][number]
        )


def flat_ase(matrix):
    """Flatten ASE's lists [atom][neighbour][row]; entry 0 is a dummy."""
    return np.concatenate([np.concatenate([np.ravel(b) for b in atom]) for atom in matrix[1:]])


@pytest.mark.shared
def test_constants_are_those_of_openmx(shared):
    reference = json.loads((folder(shared, "si") / "reference.json").read_text())["conversion"]
    assert OPENMX.hartree_ev == reference["hartree_eV"]
    assert OPENMX.bohr_angstrom == reference["bohr_angstrom"]
