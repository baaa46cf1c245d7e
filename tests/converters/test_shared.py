"""What the converters share: settings, opening files, the source's order of atoms."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import samples

import dock
from dock.converters.format import WriteOptions
from dock.converters.origin import in_source_order, number_of
from dock.errors import FormatError, LayoutError, LossError, MissingDataError, UsageError
from dock.io.hdf5 import open_hdf5
from dock.io.text import read_text


def options(**settings):
    return WriteOptions(settings=settings)


class TestSettings:
    def test_choice(self):
        assert options(tb="yes").choice("tb", ("yes", "no"), "no") == "yes"
        assert options().choice("tb", ("yes", "no"), "no") == "no"
        with pytest.raises(UsageError, match=r"setting tb is a, b or c, found 'd'\."):
            options(tb="d").choice("tb", ("a", "b", "c"), "a")

    def test_counts(self):
        assert options().counts("mesh") is None
        assert options(mesh="1,22,3").counts("mesh") == (1, 22, 3)
        assert options(mesh="4 5 6").require_counts("mesh", "Why.") == (4, 5, 6)

    @pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "1,0,2", "-1,1,1", "a,b,c", "1.5,1,1"])
    def test_wrong_counts(self, text):
        with pytest.raises(UsageError, match=r"settings={'mesh': 'N1,N2,N3'}; found '.*'\.$"):
            options(mesh=text).counts("mesh")

    def test_counts_that_are_needed(self):
        with pytest.raises(UsageError, match=r"found nothing\. For this reason\."):
            options().require_counts("mesh", "For this reason.")


class TestReading:
    def test_text(self, tmp_path):
        (tmp_path / "a").write_bytes(b"x\xff")
        assert read_text(tmp_path / "a") == "x\ufffd"
        with pytest.raises(MissingDataError, match=r"cannot be read \(Is a directory\)"):
            read_text(tmp_path)

    def test_hdf5(self, tmp_path):
        path = tmp_path / "a.h5"
        with pytest.raises(MissingDataError, match=r"a\.h5"), open_hdf5(path, "Fix."):
            pass
        path.write_bytes(b"no HDF5")
        with pytest.raises(FormatError, match=r"NetCDF cannot read(?s:.)*Fix\."):  # noqa: SIM117
            with open_hdf5(path, "Fix.", "NetCDF"):
                pass
        with h5py.File(path, "w") as file:
            file["x"] = np.arange(3)
        with open_hdf5(path, "Fix.") as file:
            assert file["x"][1] == 1

    @pytest.mark.parametrize(
        "error", [KeyError("x"), OSError("x"), RuntimeError("x"), ValueError("x"), IndexError()]
    )
    def test_what_fails_inside_is_a_damage(self, tmp_path, error):
        path = tmp_path / "a.h5"
        h5py.File(path, "w").close()
        with pytest.raises(FormatError, match=r"a\.h5"), open_hdf5(path, "Fix."):
            raise error

    def test_sentences_and_interrupts_pass(self, tmp_path):
        path = tmp_path / "a.h5"
        h5py.File(path, "w").close()
        for error in (LossError("mine"), MemoryError("mine"), KeyboardInterrupt("mine")):
            with pytest.raises(type(error), match="mine"), open_hdf5(path, "Fix."):
                raise error

    def test_a_lock_has_its_own_remedy(self, tmp_path):
        path = tmp_path / "a.h5"
        h5py.File(path, "w").close()
        with pytest.raises(FormatError, match="HDF5_USE_FILE_LOCKING"), open_hdf5(path, "Fix."):
            raise BlockingIOError("unable to lock file, errno = 11")


class TestSource:
    def test_order_of_the_source(self):
        calc = dock.read(samples.OPENMX / "h2o")
        order = [2, 0, 1]
        grouped = calc.permute_atoms(order)
        extra = {**grouped.provenance.extra, "source_order": order}
        grouped = replace(grouped, provenance=replace(grouped.provenance, extra=extra))
        back = in_source_order(grouped)
        assert np.array_equal(back.structure.positions, calc.structure.positions)
        assert in_source_order(calc) is calc

    def test_species_of_structure_and_basis_agree(self):
        calc = dock.read(samples.OPENMX / "h2o")
        other = calc.structure.relabel(["O", "H", "D"])
        with pytest.raises(LayoutError, match=r"h2o.*atom 2 is of species 'D' .* 'H' in the basis"):
            replace(calc, structure=other)

    def test_numbers(self):
        extra = {"a": 1, "b": "x", "c": None, "d": 2.5}
        assert [number_of(extra, key, 7.0) for key in "abcde"] == [1.0, 7.0, 7.0, 2.5, 7.0]
