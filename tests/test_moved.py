"""Module names of earlier versions go on working."""

import importlib
import importlib.util
from pathlib import Path

import pytest

import dock
from dock._moved import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_leads_to_a_module_of_today(old):
    place = Path(dock.__file__).parents[1].joinpath(*old.split("."))
    assert not place.with_suffix(".py").exists()
    assert not (place / "__init__.py").exists()
    assert importlib.util.find_spec(MOVED[old]) is not None


def test_the_old_name_is_the_module_itself():
    old = importlib.import_module("dock.converters.siesta.basis")
    assert old is importlib.import_module("dock.converters.siesta.ion")
