"""``dock dos --method kpm`` on the command line."""

import json

import pytest
import samples
from samples import cli

KPM = ("--method", "kpm", "--mesh", 1, 1, 1)


@pytest.fixture(scope="module")
def si(tmp_path_factory):
    return samples.unified(tmp_path_factory.mktemp("moments") / "si")


def test_errors_are_printed_and_saved(si):
    done = cli("dos", si, *KPM, "--resolution", 0.5, "--vectors", 4, "--project", "l", "--json")
    facts = json.loads(done.out)
    assert done.code == 0
    assert facts["resolution_eV"] == pytest.approx(0.5, rel=0.02)
    assert facts["counted_electrons_error"] > 0
    assert abs(facts["counted_electrons"] - 8) < 2 * facts["counted_electrons_error"] + 0.1
    assert facts["projection_names"] == ["s", "p"]
    saved = json.loads((si / "dos.json").read_text())
    assert len(saved["dos_error_1_per_eV"][0]) == facts["n_energies"]


def test_a_plan_of_a_tile(si):
    done = cli("dos", si, *KPM, "--tile", 50, 50, 50, "--dry-run", "-o", si / "plan.h5")
    assert done.code == 0
    assert "250000 atoms" in done.out
    assert not (si / "plan.h5").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tile", 2, 1, 1), "--tile belongs to --method kpm"),
        ((*KPM, "--cohp", "1-2@0,0,0"), "no use for --cohp"),
        ((*KPM, "--smearing", "gaussian"), "no use for --smearing"),
        ((*KPM, "--window", 1, -1), "is empty"),
        ((*KPM, "--vectors", 1), "at least 2 random vectors"),
        ((*KPM, "--resolution", 0.05, "--moments", 60), "--moments"),
        ((*KPM, "--atoms", "9"), "1 to 2"),
    ],
)
def test_options_without_meaning(si, options, words):
    refused = cli("dos", si, *options, "-o", si / "no.h5")
    assert refused.code == 2
    assert words in refused.err
    assert not (si / "no.h5").exists()
