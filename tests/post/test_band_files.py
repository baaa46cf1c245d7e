"""band.h5 and its JSON twin."""

import json

import h5py
import numpy as np
import pytest
import samples

import dock
from dock.errors import OutputError, UsageError
from dock.post import bands
from dock.post.band_structure import Selection

SHAPES = {
    "band_data": (10, 10), "band_gap": (), "band_quantity": (), "fermi_energy_before_shift_eV": (),
    "fermi_energy_eV": (), "hsk_distance_list": (3,), "hsk_symbol_list": (2, 2),
    "hsk_vector_list": (2, 2, 3), "is_metal": (), "k_path_density_list": (2,),
    "k_path_quantity": (), "kpoints_distance_list": (10,), "kpoints_frac_list": (10, 3),
    "kpoints_quantity": (), "rlv": (3, 3), "spinful": (),
}  # fmt: skip


@pytest.fixture(scope="module")
def result():
    calc = dock.read(samples.OPENMX / "si")
    path = dock.states.kpath.KPath(
        [5, 5], [[0.5, 0.5, 0.5], [0, 0, 0]], [[0, 0, 0], [0.5, 0, 0.5]],
        (("L", "GAMMA"), ("GAMMA", "X")), cell=calc.structure.cell,
    )  # fmt: skip
    return bands(calc, path)


def test_layout(result, tmp_path):
    files = result.save(tmp_path / "band.h5")
    assert [file.name for file in files] == ["band.h5", "band.json"]
    with h5py.File(files[0]) as file:
        assert {name: file[name].shape for name in file} == SHAPES
        level = file["fermi_energy_before_shift_eV"][()]
        absolute = file["band_data"][()].T + level
        np.testing.assert_allclose(absolute, result.energies[0], atol=1e-12)
        assert file["band_gap"][()] == result.gap.size
        np.testing.assert_allclose(
            file["rlv"][()] @ result.structure.cell.T, 2 * np.pi * np.eye(3), atol=1e-12
        )
        # Lengths are in 1/Å without 2π.
        ends = np.array([0.5, 0.5, 0.5]) @ file["rlv"][()] / (2 * np.pi)
        assert file["hsk_distance_list"][1] == pytest.approx(np.linalg.norm(ends))
        assert file.attrs["spin"] == "none"


def test_json_twin(result, tmp_path):
    content = json.loads(result.save(tmp_path / "band.h5")[1].read_text())
    np.testing.assert_array_equal(content["energies_eV"], result.energies)
    assert content["gap_eV"] == result.gap.size
    assert content["cbm"]["band"] == 5
    assert content["segments"][0] == {"points": 5, "labels": ["L", "GAMMA"]}
    assert "energies_eV" not in result.json(arrays=False)


def test_points_that_lack_bands(tmp_path):
    """A window cuts bands differently at each point; JSON knows no NaN."""
    si = dock.read(samples.OPENMX / "si")
    level = si.fermi_level  # given: a window about it is all that is solved
    some = bands(si, "LGX", points=5, selection=Selection((-3, 0)), fermi_level=level)
    assert np.isnan(some.energies).any()
    text = some.save(tmp_path / "band.h5")[1].read_text()
    assert "NaN" not in text
    assert json.loads(text)["first_band"] == some.first_band


def test_nothing_is_replaced_or_written_in_part(result, tmp_path):
    (tmp_path / "band.json").write_text("mine")
    with pytest.raises(OutputError, match=r"band\.json: exists"):
        result.save(tmp_path / "band.h5")
    assert samples.names(tmp_path) == ["band.json"]
    result.save(tmp_path / "band.h5", overwrite=True)
    (tmp_path / "band.json").unlink()
    with pytest.raises(OutputError, match=r"band\.h5: exists"):
        result.save(tmp_path / "band.h5")
    result.save(tmp_path / "band.h5", overwrite=True)
    with pytest.raises(UsageError, match="HDF5"):
        result.save(tmp_path / "x.json")
    with pytest.raises(OutputError, match="nowhere"):
        result.save(tmp_path / "nowhere" / "band.h5")
    assert samples.names(tmp_path) == ["band.h5", "band.json"]
