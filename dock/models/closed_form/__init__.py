"""Closed forms: models by linear least squares, equivariant, without JAX."""

from dock.models.closed_form.family import KINDS, closed_form_of, fit_closed_form, read_closed_form
from dock.models.closed_form.form import ClosedForm
from dock.models.closed_form.judgement import (
    Judgement,
    choose_closed_form,
    mean_absolute_error,
)
from dock.models.closed_form.three_centre import ThreeCentre, fit_three_centre
from dock.models.closed_form.two_centre import TwoCentre, fit_two_centre

__all__ = [
    "KINDS",
    "ClosedForm",
    "Judgement",
    "ThreeCentre",
    "TwoCentre",
    "choose_closed_form",
    "closed_form_of",
    "fit_closed_form",
    "fit_three_centre",
    "fit_two_centre",
    "mean_absolute_error",
    "read_closed_form",
]
