"""Write the parts of the documentation that are made from the program itself.

    python docs/generate.py             rewrite the tables of README.md and docs/
    python docs/generate.py --check     say which tables are out of date; exit code 1
    python docs/generate.py --figures   draw the figures, too

Tables stand between ``<!-- begin: name -->`` and ``<!-- end: name -->``. The pages of the command
line and of the Python interface are made afresh by every build; see `write_pages`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import click

from dock.cli import cli
from dock.converters import Format, get_format
from dock.converters.deeph.beside import RESULTS, SIDE_FILES
from dock.converters.deeph.fields import DATASETS
from dock.converters.deeph.folder import FILES, PREDICTION
from dock.converters.deeph.info import CARRIED
from dock.converters.format import ALL_SPINS
from dock.converters.registry import BUILT_IN
from dock.core.harmonics import CONVENTIONS, LMAX, convention_table, real_harmonics
from dock.core.quantity import FIELDS, QUANTITIES, quantity_of
from dock.models.options import TrainOptions, table_of
from dock.models.options.infer import InferOptions
from dock.results import KEYS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

PACKAGES = (
    "io", "core", "states", "overlap", "converters", "grid",
    "post", "response", "evaluate", "structures", "models", "planewave",
)  # fmt: skip
"""Packages with a page of their own; single modules are in ``docs/api/``."""


# --- tables ---------------------------------------------------------------------------------


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def formats_short() -> str:
    """Tabulate the formats for the README."""
    rows = [
        [
            f"`{one.name}`",
            one.title,
            _letters(one, reads=True),
            _letters(one, reads=False),
            one.versions,
        ]
        for one in _formats()
    ]
    legend = ", ".join(f"{q.letter} {q.name.replace('_', ' ')}" for q in QUANTITIES.values())
    table = markdown_table(["name", "format", "reads", "writes", "versions"], rows)
    return f"{table}\n\n{legend}."


def formats_long() -> str:
    """Describe every format: matrices, spins, versions, settings, what makes its files exist."""
    parts = []
    for one in _formats():
        rows = []
        for verb, there, spins in (
            ("reads", one.read, one.read_spins),
            ("writes", one.write, one.write_spins),
        ):
            names = ", ".join(quantity.replace("_", " ") for quantity in getattr(one, verb))
            spin = "any spin" if spins == ALL_SPINS else ", ".join(s.value for s in spins) + " spin"
            rows.append([verb, f"{names}; {spin}" if there and names else "–"])
        if one.transfers:
            goes = " or ".join(f"`{name}`" for name in one.transfers)
            rows.append(["converts to", f"{goes}: structure and density, without orbitals"])
        rows.append(["versions", one.versions or "–"])
        rows += [
            [f"`--set {name}=…` ({side})", text]
            for side, settings in (("reading", one.read_settings), ("writing", one.settings))
            for name, text in settings.items()
        ]
        notes = f"\n{one.notes.replace('<', chr(92) + '<')}\n" if one.notes else ""
        parts.append(f"## `{one.name}`: {one.title}\n{notes}\n{markdown_table(['', ''], rows)}")
    return "\n\n".join(parts)


def quantities() -> str:
    """Tabulate the matrices that dock knows."""
    rows = [
        [
            f"`{one.letter}`",
            one.name.replace("_", " "),
            "none" if one.unit == "1" else one.unit,
            "as the calculation" if one.has_spin else "one component",
            {1: "O(i,j,R) = O(j,i,−R)†", -1: "O(i,j,R) = −O(j,i,−R)†", 0: "neither"}[one.parity],
        ]
        for one in QUANTITIES.values()
    ]
    return markdown_table(["letter", "matrix", "unit", "spin", "partner block"], rows)


def unified_files() -> str:
    """Tabulate the matrix files of the unified folder."""
    rows = []
    for name, file in FILES.items():
        unit = QUANTITIES[name].unit
        rows.append([f"`{file}`", name.replace("_", " "), "none" if unit == "1" else unit])
        if name == "hamiltonian":
            rows.append([f"`{PREDICTION}`", "predicted hamiltonian", unit])
    return markdown_table(["file", "matrix", "unit"], rows)


def unified_beside() -> str:
    """Tabulate what a unified folder may have beside its matrices, and what becomes of it."""
    rows = [[f"`{name}`", what, "carried"] for name, what in SIDE_FILES.items()]
    rows += [[f"key `{name}`", what, "carried"] for name, what in CARRIED.items()]
    results = ", ".join(f"`{name}`" for name in RESULTS)
    rows += [[results, "results of H", "left behind, and said"]]
    rows += [["anything else", "named as unknown", "carried"]]
    return markdown_table(["file or key", "what it is", "in a new folder"], rows)


def unified_fields() -> str:
    """Tabulate the datasets of a unified folder that are no matrices."""
    rows = []
    for file, datasets in DATASETS.items():
        for dataset, name in [] if file.endswith("_pred.h5") else datasets.items():
            field = FIELDS[name]
            shape = ", ".join(map(str, field.shape))
            unit = "none" if field.unit == "1" else field.unit
            words = name.replace("_", " ") + (f"; {field.symmetry}" if field.symmetry else "")
            rows.append([f"`{file}`", f"`{dataset}`", f"({shape})" if shape else "–", unit, words])
    return markdown_table(["file", "dataset", "shape", "unit", "what it is"], rows)


def harmonics() -> str:
    """Tabulate order and signs of the orbitals of a shell, code by code."""
    rules = [[f"`{name}`", one.rule] for name, one in CONVENTIONS.items()]
    parts = [markdown_table(["convention", "rule"], rules)]
    for l in range(1, LMAX + 1):
        rows = []
        for name in CONVENTIONS:
            row = convention_table(name)[l]
            order = " ".join(_typeset(text) for text in row.functions)
            rows.append([f"`{name}`", order, "yes" if row.verified else "from the rule"])
        letter = convention_table("dock")[l].letter
        head = ["convention", f"order in a shell of l = {l}", "confirmed by the code's overlaps"]
        parts.append(f"### {letter} (l = {l})\n\n{markdown_table(head, rows)}")
    return "\n\n".join(parts)


def result_keys() -> str:
    """Tabulate the vocabulary of results."""
    rows = [[f"`{name}`", meaning] for name, meaning in sorted(KEYS.items())]
    return markdown_table(["key", "meaning"], rows)


def train_options() -> str:
    """Tabulate the keys of train.toml."""
    return _options(TrainOptions)


def infer_options() -> str:
    """Tabulate the keys of infer.toml."""
    return _options(InferOptions)


def _options(schema: type) -> str:
    """Tabulate keys section by section."""
    sections: dict[str, list[list[str]]] = {}
    for name, kind, default, meaning in table_of(schema):
        section, _, key = name.rpartition(".")
        kind = " or ".join(f"`{one}`" for one in kind.split(" | ")) if " | " in kind else kind
        shown = default if default == "—" else f"`{default}`"
        sections.setdefault(section, []).append([f"`{key}`", kind, shown, meaning])
    head = ["key", "value", "default", "meaning"]
    parts = [f"### `[{name}]`\n\n{markdown_table(head, rows)}" for name, rows in sections.items()]
    return "\n\n".join(parts)


def _formats() -> Iterator[Format]:
    return (get_format(name) for name in BUILT_IN)  # not the plug-ins of whoever runs this


def _letters(one: Format, *, reads: bool) -> str:
    if (one.read if reads else one.write) is None:
        return "–"
    names = one.reads if reads else one.writes
    return " ".join(quantity_of(name).letter for name in names) or "–"


def _typeset(text: str) -> str:
    """Write digits after a letter as powers, and minus as a minus: −x²−y²."""
    powered = re.sub(r"(?<=[xyz])([23])", lambda found: {"2": "²", "3": "³"}[found[1]], text)
    return powered.replace("-", "−")


TABLES: dict[str, Callable[[], str]] = {
    "formats-short": formats_short,
    "formats-long": formats_long,
    "quantities": quantities,
    "unified-files": unified_files,
    "unified-beside": unified_beside,
    "unified-fields": unified_fields,
    "harmonics": harmonics,
    "result-keys": result_keys,
    "train-options": train_options,
    "infer-options": infer_options,
}


def with_fresh_tables(text: str) -> str:
    """Return a page with every generated table renewed."""

    def renewed(found: re.Match[str]) -> str:
        begin, name, end = found[1], found[2], found[4]
        return f"{begin}\n\n{TABLES[name]()}\n\n{end}"

    pattern = r"(<!-- begin: ([\w-]+) [^>]*-->)(.*?)(<!-- end: \2 -->)"
    return re.sub(pattern, renewed, text, flags=re.DOTALL)


def pages_with_tables() -> list[Path]:
    """Return the pages that hold generated tables."""
    pages = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("[a-z]*/*.md"))]
    return [page for page in pages if "<!-- begin: " in page.read_text(encoding="utf-8")]


def outdated() -> list[Path]:
    """Return the pages whose tables differ from what the program says now."""
    texts = {page: page.read_text(encoding="utf-8") for page in pages_with_tables()}
    return [page for page, text in texts.items() if with_fresh_tables(text) != text]


# --- pages made by every build ----------------------------------------------------------------


def write_pages(folder: Path) -> None:
    """Write the pages of the command line and the Python interface into a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "cli.md").write_text(command_line(), encoding="utf-8")
    (folder / "plugin.md").write_text(plugin(), encoding="utf-8")
    for name in PACKAGES:
        text = package_page(f"dock.{name}")
        if text:
            (folder / f"api-{name}.md").write_text(text, encoding="utf-8")


def plugin() -> str:
    """Return the source of the plug-in of the tests, file by file."""
    folder = ROOT / "tests" / "plugin"
    files = [*sorted(folder.rglob("*.py")), *sorted(folder.rglob("*.toml"))]
    parts = []
    for file in files:
        if "test" in file.name or "build" in file.parts or "egg-info" in str(file):
            continue
        language = {".py": "python", ".toml": "toml"}[file.suffix]
        path = file.relative_to(ROOT).as_posix()
        parts.append(f"`{path}`:\n\n```{{literalinclude}} /../{path}\n:language: {language}\n```\n")
    return "\n".join(parts)


def command_line() -> str:
    """Return the help of every command, as it is printed."""
    return "\n".join(_help(cli, click.Context(cli, info_name="dock"), depth=2))


def _help(command: click.Command, context: click.Context, depth: int) -> Iterator[str]:
    text = command.get_help(context)
    yield f"{'#' * min(depth, 4)} `{context.command_path}`\n\n```text\n{text}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                below = click.Context(child, info_name=name, parent=context)
                yield from _help(child, below, depth + 1)


def package_page(name: str) -> str:
    """Return the page of one package, module by module; empty where there is no such package."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return ""
    parts = []
    for module in _modules(name):
        names = _documented(module)
        members = f"   :members: {', '.join(names)}\n" if names else ""
        level = "#" if module.__name__ == name else "##"
        body = f"```{{eval-rst}}\n.. automodule:: {module.__name__}\n{members}```"
        parts.append(f"{level} `{module.__name__}`\n\n{body}")
    return "\n\n".join(parts) + "\n"


def _modules(name: str) -> Iterator[ModuleType]:
    """Yield a package and its public modules; of a code's converter the package alone."""
    module = importlib.import_module(name)
    yield module
    if not hasattr(module, "__path__") or _is_code(module):
        return
    for found in pkgutil.iter_modules(module.__path__, f"{name}."):
        if not found.name.rpartition(".")[2].startswith("_"):
            yield from _modules(found.name)


def _is_code(module: ModuleType) -> bool:
    return module.__name__.startswith("dock.converters.")


def _documented(module: ModuleType) -> list[str]:
    """Return a module's public names; of a package those that no other page shows."""
    names = [
        name for name in getattr(module, "__all__", []) if name.upper() != name or len(name) < 3
    ]
    if not hasattr(module, "__path__"):
        return list(getattr(module, "__all__", []))
    if _is_code(module):  # read and write are the format's load and save, shown with Format
        return [name for name in names if not inspect.ismethod(getattr(module, name))]
    homes = {name: getattr(getattr(module, name), "__module__", "") for name in names}
    return [
        name
        for name, home in homes.items()
        if home == module.__name__ or home.rpartition(".")[2].startswith("_")
    ]


# --- figures ----------------------------------------------------------------------------------


def quick_start() -> list[str]:
    """Return the arguments of the dock commands in the README's first command line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    return re.findall(r"\.venv/bin/dock (.*?)(?: &&|$)", block[1] if block else "", re.MULTILINE)


def draw_quick_start(target: Path) -> None:
    """Run the README's quick start in a scratch folder and keep its figure."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "fixtures").symlink_to(ROOT / "fixtures")
        for line in quick_start():
            subprocess.run([sys.executable, "-m", "dock", *line.split()], cwd=scratch, check=True)
        shutil.copyfile(Path(scratch) / "quickstart" / "si-bands.png", target)


def draw_harmonics(target: Path, lmax: int = 3) -> None:
    """Draw the real harmonics: distance from the centre is |Y|, red is positive."""
    import numpy as np
    from matplotlib.figure import Figure

    theta, phi = np.meshgrid(np.linspace(0, np.pi, 61), np.linspace(0, 2 * np.pi, 121))
    sphere = [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)]
    directions = np.stack(sphere, axis=-1)
    figure = Figure(figsize=(1.45 * (2 * lmax + 1), 1.62 * (lmax + 1)))
    names = [row.functions for row in convention_table("dock", lmax)]
    for l in range(lmax + 1):
        values = real_harmonics(l, directions)
        for m in range(-l, l + 1):
            axes = figure.add_subplot(
                lmax + 1, 2 * lmax + 1, l * (2 * lmax + 1) + lmax + m + 1, projection="3d"
            )
            radius = values[..., l + m]
            surface = directions * np.abs(radius)[..., None]
            colours = np.where(
                (radius > 0)[..., None], [0.75, 0.22, 0.17, 1], [0.12, 0.31, 0.47, 1]
            )
            axes.plot_surface(
                *np.moveaxis(surface, -1, 0),
                facecolors=colours,
                rstride=1,
                cstride=1,
                antialiased=False,
            )
            reach = 0.8 * np.abs(values).max()
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
            axes.set_box_aspect((1, 1, 1))
            axes.view_init(elev=22, azim=28)
            axes.set_axis_off()
            axes.set_title(f"{_typeset(names[l][l + m])}   m = {m}", fontsize=8, y=0.94)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=0.97, wspace=0, hspace=0.12)
    figure.savefig(target, dpi=100)


def main() -> int:
    """Run the command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is out of date")
    parser.add_argument("--figures", action="store_true", help="draw the figures, too")
    options = parser.parse_args()
    stale = outdated()
    for page in stale:
        name = page.relative_to(ROOT)
        print(f"{name}: out of date; run python docs/generate.py" if options.check else f"{name}")
        if not options.check:
            text = page.read_text(encoding="utf-8")
            page.write_text(with_fresh_tables(text), encoding="utf-8")
    if options.figures:
        draw_quick_start(DOCS / "images" / "si-bands.png")
        draw_harmonics(DOCS / "images" / "harmonics.png")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
