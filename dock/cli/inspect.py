"""``dock info``, ``dock check``, ``dock diff`` and ``dock formats``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dock.cli import options
from dock.cli.runner import Bar, Run, show_log
from dock.cli.wording import in_options, print_json
from dock.results import table

if TYPE_CHECKING:
    from dock.core.compare import Difference


@click.command()
@options.path_argument
@options.from_option
@click.option("--orbitals", is_flag=True, help="Also what each row is: atom, n, l, m, zeta.")
@options.json_option
def info(path: Path, source: str | None, orbitals: bool, as_json: bool) -> None:
    """Show structure, basis, spin, Fermi level, matrices, conventions and origin of one run.

    \b
    Example:
      dock info si_deeph

    PATH is a run of any code or a unified folder; the current folder when left out. Of a unified
    folder every file, key and dataset is named: "beside" is what is not read. With --orbitals each
    row of the matrices is named, and which one it is in the files of the code that made them.
    """
    from dock.converters import resolve
    from dock.converters.inspection import describe

    show_log(quiet=False)
    entry, main = resolve(path, source)
    content = describe(entry, main, orbitals=orbitals)
    if as_json:
        print_json(content)
        return
    click.echo(_brief_text(content) if entry.describe is not None else _info_text(content))
    if orbitals:
        click.echo(f"\n{_orbital_text(content)}")


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@options.from_option
@click.option("--thorough", is_flag=True, help="Count the states of large systems too.")
@options.run_options(None, figure=False, jobs=False)
def check(paths: tuple[str, ...], source: str | None, thorough: bool, run: Run) -> int:
    """Check the physics of folders, runs, or a whole dataset; exit code 2 when something is wrong.

    \b
    Example:
      dock check dataset

    Checked are: entries are finite, every pair has its partner, H, S and ρ are Hermitian, S(k) is
    positive definite and follows the distances of the atoms, H has a block wherever S has one,
    Tr(ρS) is the number of electrons, so is the count of states below the Fermi level on a small
    mesh, and what the code's own log says. What a unified folder has beside that is noted.
    """
    from dock.converters import get_format
    from dock.converters.inspection import findings_of, runs_to_check

    runs = runs_to_check(paths or (".",), source)
    bar = Bar("folders", quiet=run.quiet)
    n_bad = 0
    for done, (name, main) in enumerate(runs, 1):
        findings = findings_of(get_format(name), main, is_thorough=thorough)
        bad = any(finding.level == "error" for finding in findings)
        n_bad += bad
        if run.as_json:
            items = [vars(finding) for finding in findings]
            print_json({"path": str(main), "format": name, "ok": not bad, "findings": items})
        elif bad or len(runs) == 1:  # all of a single run, of one among many what is wrong
            shown = [item for item in findings if len(runs) == 1 or item.level == "error"]
            click.echo(
                f"{main}\n"
                + table([[item.level, item.what, in_options(item.message)] for item in shown])
            )
        bar(done, len(runs), f", {n_bad} with errors" if n_bad else "")
    if not run.as_json:
        click.echo(f"{len(runs) - n_bad} sound, {n_bad} with errors")
    return 2 if n_bad else 0


@click.command()
@click.argument("first", type=options.PATH)
@click.argument("second", type=options.PATH)
@click.option("--rows", default=10, show_default=True, help="Shell pairs shown for each matrix.")
@options.json_option
def diff(first: Path, second: Path, rows: int, as_json: bool) -> None:
    """Compare two runs or folders: layout, then max and mean |Δ| of each matrix and field.

    \b
    Example:
      dock diff si_deeph si_predicted/hamiltonian_pred.h5

    Both need the same atoms in the same order and the same basis. A pair that only one of them
    has counts as zero in the other; of density matrices the common pairs are compared.
    """
    from dock.converters import read
    from dock.converters.inspection import compare_runs

    show_log(quiet=False)
    comparison = compare_runs(read(first), read(second))
    for difference in comparison.differences:
        if as_json:
            print_json(_diff_content(difference))
        else:
            click.echo(_diff_text(difference, rows))
    lone = [(name, first) for name in comparison.only_first]
    lone += [(name, second) for name in comparison.only_second]
    for name, where in sorted(lone):
        click.echo(f"dock: note: only {where} has the {name}", err=True)


@click.command()
@options.json_option
def formats(as_json: bool) -> None:
    """List the formats: what is read and written, which spins, which versions.

    \b
    Example:
      dock formats
    """
    from dock.converters import format_names
    from dock.converters.inspection import describe_format
    from dock.errors import DockError

    rows = []
    for name in format_names():
        try:
            content = describe_format(name)
        except DockError as error:  # a plug-in that is broken
            click.echo(f"dock: note: {error}", err=True)
            continue
        if as_json:
            print_json(content)
        letters = [" ".join(content[key]) or "–" for key in ("reads", "writes")]
        rows.append([name, *letters, content["versions"], content["title"]])
    if not as_json:
        click.echo(table(rows, ["name", "reads", "writes", "versions", "what it is"]))


def _brief_text(content: dict[str, Any]) -> str:
    """Return what is known of a run without orbitals."""
    rows = _common_rows(content)
    shown = {"path", "format", "formula", "n_atoms", "cell_angstrom", "pbc", "spin"}
    shown |= {"fermi_level_eV", "n_electrons"}
    for key, value in content.items():
        if key not in shown:
            rows.append([key.removeprefix("n_").replace("_", " "), _plain(value)])
    return table(rows)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_plain(item) for item in value)
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _common_rows(content: dict[str, Any]) -> list[list[str]]:
    """Return what every run has: where, structure, spin, Fermi level, electrons."""
    level, electrons = content["fermi_level_eV"], content["n_electrons"]
    return [
        ["path", f"{content['path']} ({content['format']})"],
        ["structure", f"{content['formula']}, {content['n_atoms']} atoms"],
        ["cell", "; ".join(" ".join(f"{x:.6g}" for x in row) for row in content["cell_angstrom"])],
        ["periodic", " ".join("yes" if flag else "no" for flag in content["pbc"])],
        ["spin", content["spin"]],
        ["Fermi level", "unknown" if level is None else f"{level:.6f} eV (absolute)"],
        ["electrons", "unknown" if electrons is None else f"{electrons:g}"],
    ]


def _info_text(content: dict[str, Any]) -> str:
    species = [
        [item["label"], item["element"], str(item["atoms"]), item["basis"], str(item["orbitals"])]
        for item in content["species"]
    ]
    origin = content["provenance"]
    *where, spin, level, electrons = _common_rows(content)
    rows = [
        *where,
        ["orbitals", f"{content['n_orbitals']} (spin not counted)"],
        ["order", content["orbital_order"]],
        spin,
        level,
        electrons,
        ["matrices", ", ".join(_named(content)) or "none"],
    ]
    if content["n_pairs"] is not None:
        text = (
            f"{content['n_pairs']} pairs, {content['n_entries']} entries, "
            f"{content['lattice_vectors']} lattice vectors, {content['fill']:.3g} × N²"
        )
        rows.append(["sparsity", text])
    rows += [["units", content["units"]], ["Bloch sum", content["bloch_sum"]]]
    run = f"{origin['code']} {origin['version']} ({', '.join(origin['files'])})"
    if origin["prediction"]:
        rows += _prediction_rows(origin["prediction"])
        rows.append(["rest from", run])
    else:
        rows.append(["origin", run])
    if origin["command"]:
        rows.append(["made by", origin["command"]])
    rows += [["beside", f"{item['name']}: {item['what']}"] for item in content["beside"]]
    rows += [["note", in_options(note)] for note in content["notes"]]
    head = ["species", "element", "atoms", "basis", "orbitals"]
    return f"{table(rows)}\n\n{table(species, head)}"


def _orbital_text(content: dict[str, Any]) -> str:
    """Return the orbitals as a table; the code's own order beside ours where it is known."""
    rows, code = content["orbital_table"], content["provenance"]["code"]
    head = {"index": "row", "atom": "atom", "species": "species", "n": "n", "l": "l", "m": "m"}
    head |= {"zeta": "zeta", "orbital": "orbital"}
    if "index_in_code" in rows[0]:
        head |= {"index_in_code": f"in {code}", "orbital_in_code": "with sign"}
    cells = [["–" if row[key] is None else str(row[key]) for key in head] for row in rows]
    return table(cells, list(head.values()))


def _prediction_rows(made: dict[str, str]) -> list[list[str]]:
    """Return which model predicted H, from what and how."""
    source = f" from {made['source']}" if "source" in made else ""
    rows = [["origin", f"{made['file']}: predicted by the model {made['model']}{source}"]]
    return [*rows, ["predicted by", made["command"]]] if "command" in made else rows


def _named(content: dict[str, Any]) -> list[str]:
    """Return the matrices, with the files of a unified folder."""
    files = content["matrix_files"]
    return [f"{x} ({' + '.join(files[x])})" if x in files else x for x in content["matrices"]]


def _diff_content(result: Difference) -> dict[str, Any]:
    return {
        "quantity": result.quantity,
        "unit": result.unit,
        "max": result.largest,
        "mean": result.mean,
        "pairs": result.pairs,
        "same_order": result.same_order,
        "shell_pairs": [
            {"max": item.largest, **{k: v for k, v in vars(item).items() if k != "largest"}}
            for item in result.shell_pairs
        ],
    }


def _diff_text(result: Difference, n_rows: int) -> str:
    unit = "" if result.unit == "1" else f" {result.unit}"
    layout = result.pairs or ("same pairs" if result.same_order else "same pairs in another order")
    figures = f"max |Δ| {result.largest:.3e}{unit}, mean {result.mean:.3e}{unit}"
    lines = [f"{result.quantity}: {figures}; {layout}"]
    if result.largest > 0 and result.shell_pairs:
        rows = [
            [*item.names, f"{item.largest:.3e}", f"{item.mean:.3e}"]
            for item in result.shell_pairs[:n_rows]
        ]
        lines.append(table(rows, ["row shell", "column shell", "max", "mean"]))
    return "\n".join(lines)
