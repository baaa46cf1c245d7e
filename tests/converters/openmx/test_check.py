"""What only the text output of a run says."""

import pytest
import samples

from dock.converters.openmx.check import check_run


def levels(findings):
    return {finding.what: finding.level for finding in findings}


@pytest.fixture
def run(tmp_path):
    return samples.run_folder(tmp_path / "run") / "si.scfout"


def test_converged(run):
    assert levels(check_run(run)) == {"scf": "ok"}


def test_no_output_beside(run):
    run.with_suffix(".out").unlink()
    (finding,) = check_run(run)
    assert finding.level == "note"
    assert "si.out" in finding.message


def test_output_of_another_run(run, bundled):
    other = (bundled / "openmx" / "h2o" / "h2o.out").read_bytes()
    run.with_suffix(".out").write_bytes(other)
    (finding,) = [item for item in check_run(run) if item.what == "files"]
    assert finding.level == "error"
    assert "different runs" in finding.message


def test_not_converged(run):
    """The last step's change is above the criterion that the run itself printed."""
    out = run.with_suffix(".out")
    lines = out.read_text().splitlines()
    lines = ["scf.criterion  1e-30" if "scf.criterion" in line else line for line in lines]
    out.write_text("\n".join(lines) + "\n")
    (finding,) = check_run(run)
    assert finding.level == "error"
    assert "do not train on it" in finding.message
    answer = samples.cli("check", run.parent, "-q")
    assert answer.code == 2
    assert "1e-30" in answer.out


def test_output_that_is_no_output(run):
    run.with_suffix(".out").write_bytes(b"\xff\xfe\0")
    (finding,) = check_run(run)
    assert (finding.level, finding.what) == ("error", "scf")
    assert "si.out" in finding.message
