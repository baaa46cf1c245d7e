"""Compare what two checkouts print and write: no fact of the old version may be lost.

    python benchmarks/same_facts.py OLD_CHECKOUT NEW_CHECKOUT [--only WORD] [--keep DIR] [--train]

Run with each checkout's dock, on the old checkout's fixtures, are the commands and Python blocks of
the README and the documentation of OLD_CHECKOUT, page by page, and the commands of `facts.sh`,
group by group. Compared are exit codes, tables, JSON, messages, and every file written: to the last
bit, in whatever layout and under whatever key; what may differ, and why, stands in `_allowed.py`.
What differs between two runs of the old version is no fact; it is looked for where something seems
lost. Everything runs on one CPU with one thread. The exit code is 1 if something is lost.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from _allowed import ALLOWED, RENAMED, RESTATED, Difference
from _facts import Judge, Outcome, aggregate

TIMEOUT = 1800  # seconds for one command, which then ends with 124
SHOWN = 12  # lines below one command; all of them with --all

NETWORK = {
    "README.md": r"water",
    "docs/tutorials/water.md": r"examples/water|water_run|dock \w+ new\b",
    "facts.sh: network": r".",
}
"""Commands that train a network or use it: only with --train, few steps, and without values."""

# -- pages and commands ------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A shell command, or a Python script where `python` is true."""

    text: str
    python: bool = False

    @property
    def label(self) -> str:
        """Return one line that names the command."""
        lines = [line.strip() for line in self.text.strip().splitlines()]
        if self.python:
            return f"python: {lines[-1]}"
        first = next((line for line in lines if "dock " in line), lines[0])
        return first + (f"  (+{len(lines) - 1} lines)" if len(lines) > 1 else "")


@dataclass(frozen=True)
class Page:
    """Commands that run one after another in one folder."""

    name: str
    commands: tuple[Command, ...]

    def uses_network(self, command: Command) -> bool:
        """Say whether a command trains a network or needs one that an earlier one trained."""
        return self.name in NETWORK and bool(re.search(NETWORK[self.name], command.text))


def pages(checkout: Path) -> Iterator[Page]:
    """Yield the pages of a checkout's README and documentation, then the groups of `facts.sh`."""
    below = sorted((checkout / "docs").rglob("*.md"))
    for file in [checkout / "README.md", *below]:
        if not {"_build", "_generated"} & {*file.parts}:
            yield Page(file.relative_to(checkout).as_posix(), tuple(page_commands(file)))
    own = Path(__file__).with_name("facts.sh").read_text("utf-8")
    for part in re.split(r"^#= ", own, flags=re.MULTILINE)[1:]:
        name, _, body = part.partition("\n")
        yield Page(f"facts.sh: {name}", tuple(statements(body)))


def page_commands(file: Path) -> Iterator[Command]:
    """Yield the commands of a page; Python blocks without a command between them are one script."""
    fences = re.findall(r"^```(\w+)\n(.*?)^```$", file.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    script = ""
    for kind, body in fences:
        if kind == "python":
            script += body + "\n"
        elif kind in ("bash", "console"):
            if script:
                yield Command(script, python=True)
            script = ""
            yield from statements(body) if kind == "bash" else prompted(body)
    if script:
        yield Command(script, python=True)


def prompted(body: str) -> Iterator[Command]:
    """Yield the commands after ``$ `` of a console block."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, rest = part.partition("\n")
        while command.endswith("\\"):
            more, _, rest = rest.partition("\n")
            command = f"{command[:-1]} {more.removeprefix('> ').strip()}"
        yield Command(command)


def statements(body: str) -> Iterator[Command]:
    """Yield the statements of a script: lines until bash finds nothing missing."""
    text = ""
    for line in body.splitlines(keepends=True):
        text += line
        checked = subprocess.run(
            ["bash", "-n", "-c", text], capture_output=True, text=True, check=False
        )
        if checked.returncode == 0 and not checked.stderr:
            if text.strip():
                yield Command(text)
            text = ""


# -- running -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Runner:
    """Runs pages with a checkout's dock in the folder `place`, and records what comes out."""

    checkout: Path
    data: Path
    place: Path
    train: bool

    def kept(self, page: Page, record: Path) -> list[Outcome]:
        """Return what an earlier run recorded of a page; run it where that is not complete."""
        outcomes = [
            self.read(command, record / f"{n:03d}") for n, command in enumerate(page.commands)
        ]
        skipped = [page.uses_network(command) and not self.train for command in page.commands]
        if all(outcome or skip for outcome, skip in zip(outcomes, skipped, strict=True)):
            nothing = [Outcome(command.text, 0, "", "", {}) for command in page.commands]
            return [a or b for a, b in zip(outcomes, nothing, strict=True)]
        return self.page(page, record)

    def read(self, command: Command, record: Path) -> Outcome | None:
        """Return what was recorded of a command, if it was this one."""
        if not (record / "outcome.json").is_file():
            return None
        about = json.loads((record / "outcome.json").read_text("utf-8"))
        if about["command"] != command.text:
            return None
        root = record / "files"
        files = [file for file in root.rglob("*") if file.is_file()]
        named = {file.relative_to(root).as_posix(): file for file in files}
        return Outcome(command.text, about["code"], about["stdout"], about["stderr"], named)

    def page(self, page: Page, record: Path) -> list[Outcome]:
        """Run the commands of a page in a fresh folder; keep outputs under `record`."""
        self.prepare()
        shutil.rmtree(record, ignore_errors=True)
        outcomes = []
        for number, command in enumerate(page.commands):
            if page.uses_network(command) and not self.train:
                outcomes.append(Outcome(command.text, 0, "", "", {}))
                continue
            outcomes.append(self.command(command, record / f"{number:03d}"))
        shutil.rmtree(self.place)
        return outcomes

    def prepare(self) -> None:
        """Make the folder: data, and a virtual environment whose dock is the checkout's."""
        shutil.rmtree(self.place, ignore_errors=True)
        for name in ("fixtures", "examples"):
            shutil.copytree(self.data / name, self.place / name)
        water = self.place / "examples" / "water.toml"
        water.write_text(re.sub(r"max_epoch = \d+", "max_epoch = 2", water.read_text()))
        programs = self.place / ".venv" / "bin"
        programs.mkdir(parents=True)
        scripts = {
            "dock": f'exec "{sys.executable}" -m dock "$@"',
            "python": f'exec "{sys.executable}" "$@"',
            "python3": f'case "$*" in "-m venv "*) ;; *) exec "{sys.executable}" "$@";; esac',
            "pip": ":",
            "pytest": ":",
        }
        for name, text in scripts.items():
            file = programs / name
            file.write_text(f"#!/bin/sh\n{text}\n")
            file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def environment(self) -> dict[str, str]:
        """Return the environment of the commands: this checkout, one thread, no display."""
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        return {
            **os.environ,
            **dict.fromkeys(threads, "1"),
            "PATH": f"{self.place / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.checkout),
            "MPLBACKEND": "Agg",
            "XDG_CACHE_HOME": str(self.place.parent / f"cache-{self.checkout.name}"),
        }

    def command(self, command: Command, record: Path) -> Outcome:
        """Run one command; copy the files it wrote."""
        before, begin = self.signatures(), time.monotonic()
        words = [sys.executable, "-c"] if command.python else ["bash", "-euo", "pipefail", "-c"]
        done = subprocess.run(
            ["timeout", str(TIMEOUT), *words, command.text],
            cwd=self.place,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - begin
        files = {}
        for name, signature in self.signatures().items():
            if before.get(name) != signature:
                files[name] = record / "files" / name
                files[name].parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.place / name, files[name])
        record.mkdir(parents=True, exist_ok=True)
        outcome = Outcome(command.text, done.returncode, done.stdout, done.stderr, files)
        streams = {"stdout": done.stdout, "stderr": done.stderr}
        about = {"command": command.text, "code": done.returncode, "seconds": seconds, **streams}
        (record / "outcome.json").write_text(json.dumps(about, indent=1, ensure_ascii=False))
        return outcome

    def signatures(self) -> dict[str, tuple[int, int, int]]:
        """Return size, date and inode of every file, to see which ones a command wrote."""
        found = {}
        for folder, folders, names in os.walk(self.place):
            folders[:] = [name for name in folders if name not in (".venv", "__pycache__")]
            for name in names:
                file = Path(folder, name)
                about = file.stat()
                key = file.relative_to(self.place).as_posix()
                found[key] = (about.st_size, about.st_mtime_ns, about.st_ino)
        return found


def check_import(runner: Runner) -> None:
    """Make sure that the commands will run the dock of the checkout."""
    code = "import dock; print(dock.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=runner.place,
        env=runner.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout.startswith(str(runner.checkout)):
        sys.exit(f"{runner.checkout}: its dock is not imported: {done.stdout}{done.stderr}")


# -- report ------------------------------------------------------------------------------------


@dataclass
class Report:
    """Prints the verdict of each command and counts."""

    everything: bool
    counts: Counter[str]

    def skip(self, command: Command) -> None:
        """Say that a command was left out."""
        self.counts["skipped"] += 1
        print(f"  skipped (--train)  $ {command.label}")

    def command(self, command: Command, outcome: Outcome, found: list[Difference]) -> None:
        """Print one command: its verdict, and its differences below."""
        order = ("lost", "rounding", "excluded", "allowed")
        verdict = next((kind for kind in order if any(d.kind == kind for d in found)), "same")
        verdict = "LOST" if verdict == "lost" else verdict
        self.counts[verdict] += 1
        self.counts["refusals"] += outcome.code != 0
        code = f" (exit code {outcome.code})" if outcome.code else ""
        lines = [
            f"{'LOST' if kind == 'lost' else kind}: {line}"
            for kind in order
            for line in aggregate([d for d in found if d.kind == kind])
        ]
        shown = lines if self.everything else lines[:SHOWN]
        rest = [f"and {len(lines) - len(shown)} more"] if len(lines) > len(shown) else []
        if len(lines) == 1:
            print(f"  {lines[0]}{code}  $ {command.label}")
            return
        print(f"  {verdict}{code}  $ {command.label}")
        for line in shown + rest:
            print(f"      {line}")

    def close(self, n_pages: int) -> None:
        """Print the counts."""
        usage = os.times()
        total = sum(count for name, count in self.counts.items() if name != "refusals")
        parts = [f"{self.counts[name]} {name}" for name in ("same", "allowed", "rounding")]
        parts += [f"{self.counts[name]} {name}" for name in ("excluded", "LOST", "skipped")]
        print(f"\n{total} commands of {n_pages} pages: {', '.join(parts)}")
        print(f"{self.counts['refusals']} of them end with an error in both versions")
        print(f"{usage.children_user + usage.children_system:.0f} CPU s in the commands")


def exclude(found: list[Difference], noise: list[Difference]) -> list[Difference]:
    """Set losses aside that two runs of the old version show as well."""
    known = {_identity(difference) for difference in noise}
    reason = "differs between two runs of the old version"
    return [
        Difference(d.place, reason, "excluded")
        if _identity(d) in known and d.kind in ("lost", "rounding")
        else d
        for d in found
    ]


def _identity(difference: Difference) -> tuple[str, str]:
    """Return the place; of a table, which is one place, the number or word as well."""
    stream = difference.place in ("stdout", "stderr")
    return difference.place, difference.what if stream else ""


def compare_page(
    page: Page, old: Runner, new: Runner, records: Path, judge: Judge, *, reuse: str
) -> list[tuple[Outcome, list[Difference]]]:
    """Run a page with both versions, with the old one again if something differs, and compare."""
    folder = re.sub(r"\W+", "-", page.name)
    run_old = old.page if reuse == "none" else old.kept
    run_new = new.kept if reuse == "both" else new.page
    first = run_old(page, records / "old" / folder)
    second = run_new(page, records / "new" / folder)
    judges = [Judge(judge.rounding, not page.uses_network(c)) for c in page.commands]
    found = [j.compare(a, b) for j, a, b in zip(judges, first, second, strict=True)]
    if any(d.kind in ("lost", "rounding") for part in found for d in part):
        again = run_old(page, records / "again" / folder)
        noise = [j.compare(a, b) for j, a, b in zip(judges, first, again, strict=True)]
        found = [exclude(part, other) for part, other in zip(found, noise, strict=True)]
    return list(zip(first, found, strict=True))


def main() -> None:
    """Read the command line, compare page by page, and end with 1 if something is lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, metavar="OLD_CHECKOUT")
    parser.add_argument("new", type=Path, metavar="NEW_CHECKOUT")
    parser.add_argument("--only", metavar="WORD", help="pages with it in their name or commands")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep outputs and files there")
    parser.add_argument(
        "--reuse",
        nargs="?",
        const="old",
        default="none",
        choices=("none", "old", "both"),
        help="take what DIR has of the old version, or of both, from an earlier run",
    )
    parser.add_argument("--train", action="store_true", help="also train and use a network")
    parser.add_argument("--rounding", type=float, default=0.0, metavar="X")
    parser.add_argument("--all", action="store_true", help="all lines below each command")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as scratch:
        keep = (options.keep or Path(scratch)).resolve()
        sides = [
            Runner(checkout.resolve(), options.old.resolve(), keep / "place", options.train)
            for checkout in (options.old, options.new)
        ]
        lost = compare(*sides, options, keep)
    sys.exit(1 if lost else 0)


def compare(old: Runner, new: Runner, options: argparse.Namespace, records: Path) -> int:
    """Compare all chosen pages; return how many commands lost something."""
    for runner in (old, new):
        runner.place.mkdir(parents=True, exist_ok=True)
        check_import(runner)
    print(f"old: {old.checkout}\nnew: {new.checkout}\nallowed differences:")
    for rule in ALLOWED:
        about = f" of {rule.command}" if rule.command else ""
        print(f"  {rule.place}{about}: {rule.reason}")
    for pattern, name, reason in RENAMED:
        print(f"  {pattern} → {name}: {reason}")
    for pattern, _, reason in RESTATED:
        print(f"  {pattern} in texts: {reason}")
    judge, report, n_pages = Judge(options.rounding), Report(options.all, Counter()), 0
    for page in pages(old.checkout):
        texts = [page.name, *(command.text for command in page.commands)]
        if not page.commands or not any((options.only or "") in text for text in texts):
            continue
        n_pages += 1
        print(f"\n{page.name}", flush=True)
        if not options.train and all(page.uses_network(c) for c in page.commands):
            results = [(Outcome(c.text, 0, "", "", {}), []) for c in page.commands]
        else:
            results = compare_page(page, old, new, records, judge, reuse=options.reuse)
        for command, (outcome, found) in zip(page.commands, results, strict=True):
            if page.uses_network(command) and not options.train:
                report.skip(command)
            else:
                report.command(command, outcome, found)
    report.close(n_pages)
    return report.counts["LOST"]


if __name__ == "__main__":
    main()
