"""The face that every result has, for results that are computed in the tests."""

import pickle

import pytest

from dock.errors import OutputError
from dock.results import KEYS


def holds(result, target, *, figure=True, **drawn):
    """Assert what results share; return the files that were written to `target`."""
    assert set(result.facts()) | set(result.json()) <= set(KEYS)
    assert len(repr(result)) < 250
    assert result.rows()[0][0] in result._repr_html_()
    if figure:
        module = pytest.importorskip("matplotlib.figure")
        panels = module.Figure().subplots(getattr(result, "n_panels", 1), squeeze=False)[:, 0]
        axes = panels[0] if len(panels) == 1 else panels
        assert result.plot(ax=axes, **drawn) is axes
        assert panels[0].get_title()
    sent = pickle.loads(pickle.dumps(result))  # noqa: S301 - our own bytes
    assert sent.table() == result.table()
    files = result.save(target)
    before = {file: file.read_bytes() for file in target.parent.iterdir()}
    assert set(files) <= set(before)
    with pytest.raises(OutputError, match="overwrite=True"):
        result.save(target)
    assert {file: file.read_bytes() for file in target.parent.iterdir()} == before
    return files


def drawn(result, **options):
    """Return the panels of a figure as it is when it is saved."""
    from matplotlib.figure import Figure

    axes = result._panels(Figure)
    result.draw(axes, **options)
    panels = axes if isinstance(axes, list) else [axes]
    panels[0].figure.draw_without_rendering()
    return panels
