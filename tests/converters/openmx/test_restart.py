"""Restart files: written by us, taken apart with `struct` from the description of the format.

No real restart file is at hand, so the witness is the layout alone.
"""

import struct
from dataclasses import replace

import numpy as np
import pytest
import samples

from dock.converters.openmx.restart import RESTART_RECIPE, write_restart
from dock.converters.openmx.scfout import ScfoutFile
from dock.errors import OutputError, UsageError

plain = samples.beside(__file__, "independent_scfout")
restart = samples.beside(__file__, "independent_restart")

GRID = (24, 30, 36)


def load(tmp_path, spin):
    path = tmp_path / "x.scfout"
    path.write_bytes(plain.build(spin=spin))
    return ScfoutFile.open(path).load(), plain.read(path.read_bytes())


@pytest.mark.parametrize("spin", [0, 1, 3])
def test_layout_by_struct(tmp_path, spin):
    source, witness = load(tmp_path, spin)
    folder = write_restart(
        tmp_path, "sys", source, atom_species=[1, 0], grid=GRID, spin_orbit=spin == 3,
        band_energy=-2,
    )  # fmt: skip
    assert folder == tmp_path / "sys_rst"
    assert sorted(one.name for one in folder.iterdir()) == [
        "sys.crst_check",
        "sys.rst1",
        "sys.rst2",
    ]
    assert (folder / "sys.crst_check").read_text() == f"1 24 30 36 {spin}\n"
    for atom in (1, 2):
        data = (folder / f"sys.rst{atom}").read_bytes()
        head = struct.unpack_from("<10i", data)
        natn, ncn = witness["natn"][atom - 1], witness["ncn"][atom - 1]
        n = len(natn)
        no = witness["no"]
        assert head[:3] == (spin, spin + 1, 3)
        assert head[4:] == (4, 2, 2 - atom, no[atom - 1], n - 1, int(spin == 3))
        lists = [struct.unpack_from(f"<{n}i", data, 40 + 4 * n * row) for row in range(6)]
        assert list(lists[0]) == natn
        assert [list(one) for one in zip(*lists[1:4], strict=True)] == [
            witness["ijk"][cell] for cell in ncn
        ]
        assert lists[4] == tuple(2 - j for j in natn)
        assert lists[5] == tuple(no[j - 1] for j in natn)
        at = 40 + 24 * n
        assert struct.unpack_from("<d", data, at) == (-2.0,)
        at += 8
        for matrix in [*witness["H"], *witness["iH"], *witness["DM"]]:
            for j, cell in zip(natn, ncn, strict=True):
                block = np.ravel(matrix[atom, j, tuple(witness["ijk"][cell])])
                assert struct.unpack_from(f"<{len(block)}d", data, at) == tuple(block)
                at += 8 * len(block)
        assert at == len(data)


@pytest.mark.parametrize("spin", [0, 1, 3])
def test_read_back(tmp_path, spin):
    source, _ = load(tmp_path, spin)
    folder = write_restart(tmp_path, "sys", source, atom_species=[0, 0], grid=GRID, n_processes=2)
    assert restart.read_grid(folder / "sys.crst_check") == (2, GRID, spin)
    atoms = [restart.read_atom(folder / f"sys.rst{n}") for n in (1, 2)]
    for section in ("hamiltonian", "hamiltonian_imag", "density"):
        if section in source.matrices:
            values = np.concatenate([getattr(one, section) for one in atoms], axis=1)
            np.testing.assert_array_equal(values, source.matrices[section])
    np.testing.assert_array_equal(
        np.concatenate([one.neighbour_atoms for one in atoms]), source.pair_j
    )
    np.testing.assert_array_equal(
        np.concatenate([one.neighbour_cells for one in atoms]), source.pair_R
    )


def test_a_missing_density_is_zero(tmp_path):
    source, _ = load(tmp_path, 1)
    kept = {name: source.matrices[name] for name in ("hamiltonian", "overlap")}
    predicted = replace(source, matrices=kept)
    folder = write_restart(tmp_path, "sys", predicted, atom_species=[0, 0], grid=GRID)
    assert not restart.read_atom(folder / "sys.rst1").density.any()


def test_refusals(tmp_path):
    source, _ = load(tmp_path, 0)
    with pytest.raises(UsageError, match="species index"):
        write_restart(tmp_path, "sys", source, atom_species=[0], grid=GRID)
    with pytest.raises(UsageError, match="grid"):
        write_restart(tmp_path, "sys", source, atom_species=[0, 0], grid=(1, 2))
    with pytest.raises(UsageError, match="non-collinear"):
        write_restart(tmp_path, "sys", source, atom_species=[0, 0], grid=GRID, spin_orbit=True)
    assert not (tmp_path / "sys_rst").exists()
    folder = write_restart(tmp_path, "sys", source, atom_species=[0, 0], grid=GRID)
    with pytest.raises(OutputError, match="holds files already"):
        write_restart(tmp_path, "sys", source, atom_species=[0, 0], grid=GRID)
    write_restart(tmp_path, "sys", source, atom_species=[0, 0], grid=(1, 1, 1), overwrite=True)
    assert restart.read_grid(folder / "sys.crst_check")[1] == (1, 1, 1)


def test_the_recipe_names_its_keywords():
    for keyword in ("scf.restart", "scf.maxIter", "scf.Hubbard.U", "Num.Grid1", "off"):
        assert keyword in RESTART_RECIPE
