"""pymatgen's band structure has the same bands, gap and labels."""

import sys

import numpy as np
import pytest
import samples

import dock
from dock.errors import DependencyError, UsageError
from dock.post import bands
from dock.post.band_structure import Selection

# pymatgen's own deprecation notes and those of what it imports
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(autouse=True)
def present():
    pytest.importorskip("pymatgen.electronic_structure.bandstructure")


def test_same_gap_and_labels():
    ours = bands(dock.read(samples.OPENMX / "si"), "LGX", points=8)
    theirs = ours.to_pymatgen()
    gap = theirs.get_band_gap()
    assert gap["energy"] == pytest.approx(ours.gap.size, abs=1e-9)
    assert gap["direct"] is False
    assert theirs.efermi == ours.gap.fermi_level
    assert {"L", "\\Gamma", "X"} == set(theirs.labels_dict)
    assert [branch["name"] for branch in theirs.branches] == ["L-\\Gamma", "\\Gamma-X"]
    (energies,) = theirs.bands.values()
    np.testing.assert_array_equal(energies, ours.energies[0].T)
    # 2π is in their distances
    np.testing.assert_allclose(theirs.distance, 2 * np.pi * ours.path.distances, atol=1e-9)


def test_two_channels():
    found = bands(dock.read(samples.OPENMX / "o2-spin")).to_pymatgen()
    assert found.is_spin_polarized
    assert found.structure.formula == "O2"


def test_refusals(monkeypatch):
    si = dock.read(samples.OPENMX / "si")
    part = bands(si, "LGX", points=5, selection=Selection((-3, 0)), fermi_level=si.fermi_level)
    with pytest.raises(UsageError, match="same number of bands"):
        part.to_pymatgen()
    bare = dock.core.calculation.Calculation(
        si.structure, si.basis, si.spin, {"H": si.require("H"), "S": si.require("S")}
    )
    with pytest.raises(UsageError, match="needs a Fermi level"):
        bands(bare, "LG", points=3).to_pymatgen()
    monkeypatch.setitem(sys.modules, "pymatgen.electronic_structure.bandstructure", None)
    with pytest.raises(DependencyError, match=r"pip install.*pymatgen"):
        bands(si, "LG", points=3).to_pymatgen()
