"""OpenMX's reports, against the recorded numbers of each run."""

import json

import numpy as np
import pytest

from dock.converters.openmx.out import read_out
from dock.errors import FormatError, MissingDataError

RUNS = [
    "fe-spin", "gaas-soc", "graphene-v38", "graphene", "mos2", "o2-nc-soc", "si", "co-f", "h2o",
    "h2o-v38", "o2-spin", "o2-nc-soc-v38",
]  # fmt: skip

OUT_TEXT = """\
***********************************************************
  This calculation was performed by OpenMX Ver. 3.9.9
***********************************************************
scf.maxIter               3
SCF.Criterion             1e-06
                  SCF history at MD= 1
   SCF=   1  NormRD=  1.0  Uele= -5.0
   SCF=   2  NormRD=  0.1  Uele= -5.0000000001
  Uele.         -5.0000000001
                  SCF history at MD= 2
   SCF=   1  NormRD=  1.0  Uele= -5.0
   SCF=   2  NormRD=  0.5  Uele= -4.0
   SCF=   3  NormRD=  0.3  Uele= -4.5
  Uele.         -4.5
"""


def reference(shared, name):
    folder = shared / "fixtures" / "openmx" / name
    return folder, json.loads((folder / "reference.json").read_text())


@pytest.mark.shared
@pytest.mark.parametrize("name", RUNS)
def test_reports(shared, name):
    folder, known = reference(shared, name)
    found = read_out(folder / f"{name}.out")
    assert found.chemical_potential == pytest.approx(known["chemical_potential_Ha"], abs=1e-12)
    assert found.converged


@pytest.mark.shared
def test_the_criterion_is_on_the_band_energy(shared):
    """All runs stopped at the first step whose |ΔUele| is below scf.criterion, whatever NormRD."""
    for name in RUNS:
        lines = (shared / "fixtures" / "openmx" / name / f"{name}.out").read_text().split("\n")
        energies = [float(one.split("Uele=")[1]) for one in lines if "SCF=" in one]
        criterion = read_out(shared / "fixtures" / "openmx" / name / f"{name}.out").criterion
        changes = np.abs(np.diff(energies))
        assert changes[-1] < criterion
        # The first two steps of a run may share one energy: the density was not mixed yet.
        assert (changes[1:-1] >= criterion).all()


def test_the_last_structure_counts(tmp_path):
    path = tmp_path / "x.out"
    path.write_text(OUT_TEXT)
    found = read_out(path)
    assert (found.n_steps, found.criterion) == (3, 1e-6)
    assert found.energy_change == 0.5
    assert found.chemical_potential is None
    assert not found.converged


def test_runs_that_diverge_or_have_just_begun(tmp_path):
    path = tmp_path / "x.out"
    path.write_text(OUT_TEXT.replace("0.3  Uele= -4.5", "****  Uele= nan"))
    assert not read_out(path).converged
    path.write_text("\n".join(OUT_TEXT.split("\n")[:3]))
    found = read_out(path)
    assert (found.n_steps, found.energy_change, found.converged) == (0, None, False)


def test_files_that_are_none(tmp_path):
    with pytest.raises(MissingDataError, match="No such file"):
        read_out(tmp_path / "none")
    (tmp_path / "x").write_bytes(b"\x89HDF\r\n\0")
    with pytest.raises(FormatError, match="binary data"):
        read_out(tmp_path / "x")
    (tmp_path / "x").write_text("another text\n")
    with pytest.raises(FormatError, match=r"not an OpenMX report.*'another text"):
        read_out(tmp_path / "x")
