"""Which closed form is taken, and by what structures it is judged."""

from __future__ import annotations

import numpy as np
import pytest

from dock.core.spin import Spin
from dock.models.closed_form import (
    Judgement,
    choose_closed_form,
    fit_closed_form,
    judgement,
    mean_absolute_error,
)
from dock.models.data.samples import find_samples, load_item
from dock.models.targets import TargetLayout

LAYOUT = TargetLayout(("H", "O"), ((0, 0, 1), (0, 0, 1, 1, 2)), Spin.NONE)
CUTOFFS = np.zeros(4)


@pytest.fixture(scope="module")
def water(bundled):
    """Twenty molecules by name."""
    samples = find_samples(bundled / "water")[:20]
    return {sample.name: load_item(sample, LAYOUT) for sample in samples}


def choose(wanted, water, n_train, n_validate):
    names = list(water)
    parts = names[:n_train], names[n_train : n_train + n_validate]

    def items(names):
        return (water[name] for name in names)

    return choose_closed_form(wanted, items, parts, LAYOUT, CUTOFFS)


class _Wrong:
    """A form that gives the labels, all of them wrong by so many eV."""

    layout = LAYOUT

    def __init__(self, kind, by, items):
        self.kind, self.by = kind, by
        self.items = {id(item.graph): item for item in items.values()}

    def predict(self, graph):
        item = self.items[id(graph)]
        node, edge = LAYOUT.node_mask[graph.species], LAYOUT.edge_mask[graph.edge_type]
        return item.node + self.by * node[:, None], item.edge + self.by * edge[:, None]


def put(monkeypatch, items, **errors):
    """Replace the closed forms by others that are wrong by so much, in eV."""
    wrong = {name.replace("_", "-"): by for name, by in errors.items()}
    monkeypatch.setattr(
        judgement, "fit_closed_form", lambda kind, *_: _Wrong(kind, wrong[kind], items)
    )


def test_water_takes_three_centres_by_the_structures_for_validation(water, caplog):
    caplog.set_level("INFO", logger="dock")
    form, found = choose("auto", water, 12, 4)
    assert form is not None
    assert form.kind == found.kind == "three-centre"
    assert set(found.errors) == {"none", "two-centre", "three-centre"}
    held_out = list(water.values())[12:16]
    assert found.errors["three-centre"] == mean_absolute_error(form, held_out)
    assert found.errors["three-centre"] < 0.2 * found.errors["two-centre"] < found.errors["none"]
    assert "three-centre is taken" in caplog.text
    assert "4 structures for validation" in caplog.text
    assert f"two-centre {1e3 * found.errors['two-centre']:.4g}" in caplog.text
    assert Judgement.of(found.to_dict(), form) == found


def test_without_structures_for_validation_each_third_is_held_out(water):
    form, found = choose("auto", water, 12, 0)
    assert found.kind == "three-centre"
    assert "a third of them held out" in found.judged_on
    all_of_them = fit_closed_form(
        "three-centre", lambda: list(water.values())[:12], LAYOUT, CUTOFFS
    )
    one = water[next(iter(water))].graph
    assert np.array_equal(form.predict(one)[1], all_of_them.predict(one)[1])
    assert found.errors["three-centre"] > mean_absolute_error(form, list(water.values())[:12])


def test_a_form_that_does_harm_is_not_taken(water, monkeypatch):
    put(monkeypatch, water, two_centre=30.0, three_centre=50.0)
    form, found = choose("auto", water, 8, 4)
    assert form is None
    assert found.kind == "none"
    assert found.errors["none"] < found.errors["two-centre"] < found.errors["three-centre"]


def test_of_forms_that_are_about_as_good_the_simpler_is_taken(water, monkeypatch):
    put(monkeypatch, water, two_centre=1.04e-3, three_centre=1.0e-3)
    assert choose("auto", water, 8, 4)[1].kind == "two-centre"
    put(monkeypatch, water, two_centre=1.06e-3, three_centre=1.0e-3)
    assert choose("auto", water, 8, 4)[1].kind == "three-centre"


def test_a_form_that_was_asked_for_is_taken_and_warned_of(water, monkeypatch, caplog):
    put(monkeypatch, water, two_centre=30.0)
    form, found = choose("two-centre", water, 8, 4)
    assert form.kind == found.kind == "two-centre"
    assert 'baseline = "two-centre" does harm' in caplog.text
    caplog.clear()
    put(monkeypatch, water, two_centre=0.0)
    choose("two-centre", water, 8, 4)
    assert "harm" not in caplog.text


def test_too_few_to_judge_is_said(water, caplog):
    caplog.set_level("INFO", logger="dock")
    form, found = choose("auto", water, 2, 0)
    assert form.kind == "three-centre"
    assert found.errors == {}
    assert "unjudged" in caplog.text


def test_none_fits_nothing(water):
    assert choose("none", water, 8, 4) == (None, Judgement("none"))
