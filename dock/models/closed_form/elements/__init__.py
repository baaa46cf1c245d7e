"""Blocks from parameters of elements and the overlap, also of pairs never seen in training."""

from dock.models.closed_form.elements.fit import fit_elements
from dock.models.closed_form.elements.layered import Layered, fit_layered
from dock.models.closed_form.elements.model import ElementForm

__all__ = ["ElementForm", "Layered", "fit_elements", "fit_layered"]
