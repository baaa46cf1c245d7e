"""Figures of bands: what is drawn, not how it looks."""

import sys

import pytest
import samples

import dock
from dock.errors import DependencyError, OutputError, UsageError
from dock.post import bands

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def si():
    return bands(dock.read(samples.OPENMX / "si"), "LGX", points=6)


@pytest.mark.parametrize(
    ("name", "begin"), [("b.png", b"\x89PNG"), ("b.pdf", b"%PDF"), ("b.SVG", b"<?xml")]
)
def test_kinds(si, tmp_path, name, begin):
    assert si.plot(tmp_path / name) == tmp_path / name
    assert (tmp_path / name).read_bytes().startswith(begin)
    assert samples.names(tmp_path) == [name]


def drawn(monkeypatch, result, path, **options):
    """Return the axes of the figure that is saved."""
    import matplotlib.figure

    kept = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure,
        "savefig",
        lambda self, *a, **k: (kept.append(self), save(self, *a, **k)),
    )
    result.plot(path, **options)
    return kept[0].axes[0]


def test_content(si, tmp_path, monkeypatch):
    axes = drawn(monkeypatch, si, tmp_path / "b.png", window=(-5, 5))
    lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
    assert len(lines) == 20  # ten bands on two segments
    assert axes.get_ylim() == (-5, 5)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["L", "Γ", "X"]
    assert axes.get_title() == "Si2  gap 1.977 eV" or "gap" in axes.get_title()
    highest = max(line.get_ydata().max() for line in lines if line.get_ydata().max() < 0)
    assert highest == pytest.approx(si.gap.vbm.energy - si.reference)


def test_two_channels_and_a_comparison_have_a_legend(tmp_path, monkeypatch):
    o2 = bands(dock.read(samples.OPENMX / "o2-spin"))
    axes = drawn(monkeypatch, o2, tmp_path / "b.png", other=o2)
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert set(words) == {"up", "down", "compared"}


def test_refusals(si, tmp_path):
    with pytest.raises(UsageError, match=r"\.png, \.pdf or \.svg"):
        si.plot(tmp_path / "b.jpg")
    (tmp_path / "b.png").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        si.plot(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_text() == "mine"
    si.plot(tmp_path / "b.png", overwrite=True)


def test_without_matplotlib(si, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyError, match=r"pip install.*plot"):
        si.plot(tmp_path / "b.png")
    assert list(tmp_path.iterdir()) == []
