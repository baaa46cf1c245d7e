"""Every command over every bundled folder, damaged: exit codes, words, and what is left behind.

    python benchmarks/fuzz_commands.py --rounds 60 --seed 0
    python benchmarks/fuzz_commands.py --seed 0 --only 1234      (one trial again, with its words)

A trial is one command (`tests/every_command.py`), one folder and one kind of damage, all told by
its number and the seed. It fails on a traceback, an exit code that is not documented, a crash, a
warning of Python, a hang, a file that is not complete, a file left by a command that failed, or an
input that was changed. Packages are imported once; each trial is a fork of that process.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import importlib.abc
import io
import json
import os
import random
import re
import resource
import selectors
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from _measure import machine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from every_command import TEMPLATES, Bench  # noqa: E402

DOCUMENTED = {0, 1, 2, 3, 4}
LIMIT_S = 60.0
MEMORY = 8 * 2**30
SET = re.compile(r"water/\d+")
BASES = ("qe/si_3s3p2d",)
FITTING = {
    "charge-density": "siesta/graphene",
    "compute-overlap": "unified/si",
    "dataset": "deeph/forces",
    "equivariance": "water/000",
    "evaluate": "unified/si",
    "infer": "water/000",
    "wavefunction": "siesta/graphene",
}
"""Folders that some commands are made for; these take them in every other pair of turns."""
ENDS = {".png": b"IEND\xaeB`\x82", ".pdf": b"%%EOF"}
WORDS = (
    ("Traceback (most recent call last)", "traceback"),
    ("a fault of dock itself", "traceback"),
    ("Warning:", "warning"),
)


def _seeded(*words: object) -> random.Random:
    return random.Random(" ".join(map(str, words)))  # noqa: S311 - no secret


# ---------------------------------------------------------------------- damage


def _files(folder: Path) -> list[Path]:
    """Return the files of a run, without what describes the fixture."""
    every = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in every if path.name not in ("README.md", "reference.json", "run.py")]


def _own(path: Path) -> bytes:
    """Return the bytes of a file, which is a link to be replaced."""
    content = path.read_bytes()
    path.unlink()
    return content


def whole(folder: Path, _: random.Random) -> str:
    """Leave the folder as it is."""
    return f"{folder.name} as it is"


def cut(folder: Path, rng: random.Random) -> str:
    """Cut a file off somewhere, also at its very beginning."""
    path = rng.choice(_files(folder))
    content = _own(path)
    end = rng.choice([0, rng.randrange(len(content) + 1), max(0, len(content) - 1)])
    path.write_bytes(content[:end])
    return f"{path.name} cut at {end} of {len(content)}"


def flipped(folder: Path, rng: random.Random) -> str:
    """Change some bytes of a file."""
    path = rng.choice(_files(folder))
    content = bytearray(_own(path))
    places = sorted(rng.randrange(len(content)) for _ in range(rng.choice([1, 4, 40])))
    for place in places:
        content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))
    return f"{path.name} flipped at {places[:4]}"


def missing(folder: Path, rng: random.Random) -> str:
    """Remove a file."""
    path = rng.choice(_files(folder))
    path.unlink()
    return f"{path.name} removed"


def renamed(folder: Path, rng: random.Random) -> str:
    """Give a file another name, or exchange two."""
    files = _files(folder)
    path, other = rng.choice(files), rng.choice(files)
    if rng.random() < 0.5 or path == other:
        name = rng.choice([path.name + ".bak", path.name.upper(), "x" + path.name, "é" + path.name])
        path.rename(path.with_name(name))
        return f"{path.name} named {name}"
    between = path.with_name("between")
    path.rename(between)
    other.rename(path)
    between.rename(other)
    return f"{path.name} and {other.name} exchanged"


def encoded(folder: Path, rng: random.Random) -> str:
    """Write a text file in another encoding, or with bytes that are no UTF-8."""
    texts = [path for path in _files(folder) if b"\0" not in path.read_bytes()[:4096]]
    if not texts:
        return cut(folder, rng)
    path = rng.choice(texts)
    content = _own(path)
    text = content.decode("utf-8", "replace")
    place = rng.randrange(len(content) + 1)
    kind, changed = rng.choice(
        [
            ("UTF-16", text.encode("utf-16")),
            ("with a mark of its order", b"\xef\xbb\xbf" + content),
            ("with CRLF", content.replace(b"\n", b"\r\n")),
            ("with old Mac's ends of lines", content.replace(b"\n", b"\r")),
            (f"with Latin-1 at {place}", content[:place] + b"\xe9\xfc" + content[place:]),
            (f"with NUL at {place}", content[:place] + b"\0" + content[place:]),
        ]
    )
    path.write_bytes(changed)
    return f"{path.name} {kind}"


def foreign(folder: Path, rng: random.Random) -> str:
    """Put something else where a file was: a folder, a link to nowhere, another run's file."""
    path = rng.choice(_files(folder))
    path.unlink()
    others = [p for p in _files(STORE) if p.suffix == path.suffix]
    kind = rng.choice(["folder", "link", "file", "file"])
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(path.with_name("nowhere"))
    else:
        other = rng.choice(others)
        shutil.copyfile(other, path)
        kind = str(other.relative_to(STORE))
    return f"{path.name} is a {kind}"


DAMAGES: dict[str, Callable[[Path, random.Random], str]] = {
    "whole": whole,
    "cut": cut,
    "flipped": flipped,
    "missing": missing,
    "renamed": renamed,
    "encoding": encoded,
    "foreign": foreign,
    "read-only": whole,
    "full disk": whole,
    "no extras": whole,
}
STORE = Path()
"""Where the clean copies of the folders lie."""


# ---------------------------------------------------------------------- what a child does


def _renounce() -> None:
    """Give up what lets root write where no one may (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


class _Gone(importlib.abc.MetaPathFinder):
    """No optional package can be imported."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse the names."""
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def _forget_extras() -> None:
    from dock.extras import _EXTRAS

    gone = {name for modules in _EXTRAS.values() for name in modules.split()}
    for name in list(sys.modules):
        if name.partition(".")[0] in gone:
            del sys.modules[name]
    sys.meta_path.insert(0, _Gone(gone))


def _child(trial: Trial, words: list[str], out: Path, ends: tuple[int, int]) -> None:
    """Run a command in this process, a fork, and end it."""
    code = 99
    try:
        os.dup2(ends[0], 1)
        os.dup2(ends[1], 2)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), line_buffering=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), line_buffering=True)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if trial.kind == "read-only":
            _renounce()
        elif trial.kind == "full disk":
            if "--mpi" in words:  # MPI itself needs files to begin, in memory
                from mpi4py import MPI  # noqa: F401
            size = trial.rng("limit").choice([0, 100, 3000, 30_000])
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        elif trial.kind == "no extras":
            _forget_extras()
        os.chdir(out.parent)
        from dock.cli import main

        try:
            main(words)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 98
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - a fork must never go on as its parent
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _forked(run: Callable[[tuple[int, int]], None]) -> tuple[int | None, str, str, float]:
    """Fork; return the exit code (negative: signal; None: too slow), what was said, CPU seconds."""
    pipes = [os.pipe(), os.pipe()]
    child = os.fork()
    if child == 0:
        run((pipes[0][1], pipes[1][1]))
    said: dict[int, bytes] = {}
    selector = selectors.DefaultSelector()
    for read_end, write_end in pipes:
        os.close(write_end)
        said[read_end] = b""
        selector.register(read_end, selectors.EVENT_READ)
    deadline = time.monotonic() + LIMIT_S
    late = False
    while selector.get_map():
        events = selector.select(max(0.0, deadline - time.monotonic()))
        if not events:
            late = True
            os.kill(child, signal.SIGKILL)
            break
        for key, _ in events:
            chunk = os.read(key.fd, 65536)
            said[key.fd] += chunk
            if not chunk:
                selector.unregister(key.fd)
    _, status, usage = os.wait4(child, 0)
    selector.close()
    texts = [said[read_end].decode("utf-8", "replace") for read_end, _ in pipes]
    for read_end, _ in pipes:
        os.close(read_end)
    seconds = usage.ru_utime + usage.ru_stime
    return None if late else os.waitstatus_to_exitcode(status), texts[0], texts[1], seconds


# ---------------------------------------------------------------------- what is looked at


def _no_number(word: str) -> None:
    raise ValueError(word)


def _is_complete(path: Path) -> str:
    """Return what is wrong with a file that a command wrote; nothing for a sound one."""
    import h5py
    import numpy as np

    content = path.read_bytes()
    try:
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                file.visititems(
                    lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None
                )
        elif path.suffix == ".json":
            json.loads(content, parse_constant=_no_number)
        elif path.suffix in (".npz", ".npy"):
            loaded = np.load(path)
            for name in getattr(loaded, "files", ()):
                _ = loaded[name]
        elif not content.rstrip().endswith(ENDS.get(path.suffix, b"")):
            return "cut"
        elif not content:
            return "empty"
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes a library raise
        return f"{type(error).__name__}: {error}"
    return ""


def _listing(folder: Path) -> str:
    """Return a mark of all files of a folder: names, sizes, dates."""
    lines = []
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        date = 0 if path.is_dir() else facts.st_mtime_ns
        lines.append(f"{path.relative_to(folder)} {facts.st_size if date else 0} {date}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()


def _hidden(folder: Path) -> list[str]:
    found = [path.name for path in folder.rglob(".*")]
    return [name for name in found if name not in (".dock.json", ".cache")]


# ---------------------------------------------------------------------- a trial


@dataclass(frozen=True)
class Campaign:
    """All trials of a seed: the folders, and what commands need beside them."""

    bench: Bench
    store: Path
    scratch: Path
    folders: tuple[str, ...]
    seed: int
    sizes: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)

    def trial(self, number: int) -> Trial:
        """Return a trial: commands in turn, each with every kind of damage and every folder."""
        turn, index = divmod(number, len(TEMPLATES))
        template = TEMPLATES[index]
        kind = list(DAMAGES)[(turn + index) % len(DAMAGES)]
        order = list(self.folders)
        _seeded(self.seed, template).shuffle(order)
        folder = order[turn % len(order)]
        if turn % 4 > 1:
            folder = FITTING.get(template.split()[0], folder)
        return Trial(number, self.seed, template, kind, folder)


@dataclass(frozen=True)
class Trial:
    """One command on one damaged folder."""

    number: int
    seed: int
    template: str
    kind: str
    folder: str

    def rng(self, name: str = "") -> random.Random:
        """Return random numbers of this trial's own."""
        return _seeded(self.seed, self.number, name)

    @property
    def command(self) -> str:
        """The command's name, and the format that it writes."""
        words = self.template.split()
        if words[0] in ("model", "dataset", "equivariance", "build"):
            return " ".join(words[:2])
        to = words[words.index("--to") + 1] if "--to" in words else ""
        return f"convert to {to}" if to else words[0]


@dataclass(frozen=True)
class Seen:
    """What a trial came to."""

    trial: Trial
    damage: str
    code: int | None
    out: str
    err: str
    seconds: float
    faults: tuple[str, ...]


def run_trial(campaign: Campaign, trial: Trial) -> Seen:
    """Prepare a folder, run the command in a fork, and look at what is left."""
    place = campaign.scratch / ("trial" if trial.number >= 0 else "reference")
    folder, out = place / "runs" / trial.folder.replace("/", "-"), place / "out"
    _link_tree(campaign.store / trial.folder, folder)
    _link_tree(campaign.store / "water" / "001", folder.parent / "sound")
    out.mkdir()
    damage = DAMAGES[trial.kind](folder, trial.rng())
    before = _listing(folder.parent)
    words = campaign.bench.words(trial.template, folder, out, campaign.store / trial.folder)
    if trial.kind == "read-only":
        out.chmod(0o555)
    code, said, err, seconds = _forked(lambda ends: _child(trial, words, out, ends))
    out.chmod(0o755)
    faults = list(_faults(trial, code, said, err))
    if _listing(folder.parent) != before:
        faults.append("changed its input")
    faults += [f"left {name}" for name in _hidden(place)]
    faults += _left(campaign, trial, code, out)
    seen = Seen(trial, damage, code, said, err, seconds, tuple(faults))
    if faults and trial.number >= 0:
        keep = campaign.scratch / "failed" / str(trial.number)
        shutil.rmtree(keep, ignore_errors=True)
        shutil.copytree(place, keep, symlinks=True)
    shutil.rmtree(place)
    return seen


def _link_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=os.link)


def _faults(trial: Trial, code: int | None, out: str, err: str) -> Iterator[str]:
    """Yield what is wrong with exit code and words."""
    if code is None:
        yield f"longer than {LIMIT_S:.0f} s"
    elif code < 0:
        yield f"crash ({signal.Signals(-code).name})"
    elif code not in DOCUMENTED:
        yield f"exit code {code}"
    for word, name in WORDS:
        if word in err + out:
            yield name
    if code and code > 0 and not (err + out).strip():
        yield "said nothing"
    if "--json" in trial.template and code is not None and code >= 0:
        for line in out.splitlines():
            try:
                json.loads(line, parse_constant=_no_number)
            except ValueError:
                yield "no JSON"
                return


def _left(campaign: Campaign, trial: Trial, code: int | None, out: Path) -> Iterator[str]:
    """Yield what is wrong with the files that a command wrote."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    for path in files:
        wrong = _is_complete(path)
        if wrong:
            yield f"{path.relative_to(out)}: {wrong}"
    figures = [path for path in files if path.suffix in ENDS]
    only_figure = "--plot" in trial.template and not figures  # the numbers stay, and are complete
    if code in (2, 3, 4) and files and not only_figure:
        yield f"failed and left {' '.join(str(path.relative_to(out)) for path in files[:4])}"
    if code == 0 and " -o " in trial.template and not files:
        yield "0 and no file"
    text = {str(path.relative_to(out)): path.stat().st_size for path in files}
    key = (trial.template, trial.folder)
    if trial.kind == "whole" and code == 0:
        campaign.sizes[key] = text
    elif trial.kind in ("full disk", "read-only") and files:
        if key not in campaign.sizes:
            run_trial(campaign, Trial(-1, trial.seed, trial.template, "whole", trial.folder))
        full = campaign.sizes.get(key, text)
        for name, size in text.items():
            if not name.endswith((".json", ".h5")) and full.get(name) != size:
                yield f"{name}: {size} bytes of {full.get(name)}"


# ---------------------------------------------------------------------- the campaign


def prepare(place: Path, seed: int) -> Campaign:
    """Copy the folders, fit the model, and run every command once so that all is imported."""
    global STORE  # noqa: PLW0603 - what a damage takes files of other runs from
    store = place / "store"
    for folder in sorted((ROOT / "fixtures").glob("*/*")):
        name = str(folder.relative_to(ROOT / "fixtures"))
        is_more = SET.fullmatch(name) and name not in ("water/000", "water/001")
        if folder.is_dir() and name not in BASES and not is_more:
            shutil.copytree(folder, store / name)
    STORE = store
    names = tuple(str(p.relative_to(store)) for p in sorted(store.glob("*/*")) if p.is_dir())
    (place / "bench").mkdir()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        bench = Bench.make(place / "bench")
        campaign = Campaign(bench, store, place, names, seed)
        _import_all(campaign)
    return campaign


def _import_all(campaign: Campaign) -> None:
    """Run the commands on sound folders in this process, but those that start JAX or MPI."""
    from dock.cli import _run

    for name in ("water/000", "unified/si", *(n for n in campaign.folders if n.endswith("h2o"))):
        for index, template in enumerate(TEMPLATES):
            is_first = name in ("water/000", "unified/si") or " --to npz -o" in template
            if is_first and "network" not in template and "--mpi" not in template:
                out = campaign.scratch / "warm" / name.replace("/", "-") / str(index)
                out.mkdir(parents=True)
                _run(campaign.bench.words(template, campaign.store / name, out))
    shutil.rmtree(campaign.scratch / "warm")


def table(seen: list[Seen]) -> Iterator[str]:
    """Yield the table: commands against damages, done / refused, and ! with what failed."""
    cells: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for one in seen:
        outcome = "failed" if one.faults else "done" if one.code == 0 else "refused"
        for row in (one.trial.command, "all"):
            cells[row, one.trial.kind][outcome] += 1
    rows = [*dict.fromkeys(one.trial.command for one in seen), "all"]
    width = max(map(len, rows))
    yield " " * width + "".join(f"{kind:>10}" for kind in DAMAGES)
    for row in rows:
        texts = []
        for kind in DAMAGES:
            cell = cells[row, kind]
            failed = f" !{cell['failed']}" if cell["failed"] else ""
            texts.append(f"{cell['done']}/{cell['refused']}{failed}")
        yield f"{row:{width}}" + "".join(f"{text:>10}" for text in texts)


def show(one: Seen) -> None:
    """Print a trial that failed, and how it is repeated."""
    trial = one.trial
    print(f"{trial.number}: {trial.template} | {trial.folder} | {trial.kind}: {one.damage}")
    print(f"    {'; '.join(one.faults)} (exit code {one.code})")
    lines = one.err.strip().splitlines()
    print("".join(f"    {line[:300]}\n" for line in lines[-3:]), end="")
    again = f"python benchmarks/fuzz_commands.py --seed {trial.seed} --only {trial.number}"
    print(f"    again: {again}", flush=True)


def main() -> None:
    """Run the campaign; the exit code says whether any trial failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60, help="trials of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+", help="repeat single trials, with all words")
    parser.add_argument("--keep", type=Path, help="folder in which the failed trials stay")
    given = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if given.only:
        os.environ["DOCK_TRACEBACK"] = "1"
    with tempfile.TemporaryDirectory() as name:
        place = (given.keep or Path(name)).resolve()
        place.mkdir(exist_ok=True)
        campaign = prepare(place, given.seed)
        numbers = given.only or range(given.rounds * len(TEMPLATES))
        clean = _listing(campaign.store)
        seen = []
        for number in numbers:
            one = run_trial(campaign, campaign.trial(number))
            seen.append(one)
            if one.faults or given.only:
                show(one)
            if given.only:
                print(one.out, one.err, sep="\n")
        if _listing(campaign.store) != clean:
            print("the clean copies were changed")
    failed = sum(bool(one.faults) for one in seen)
    print("\n".join(["", *table(seen), ""]))
    codes = Counter(str(one.code) for one in seen)
    print("exit codes:", ", ".join(f"{code}: {count}" for code, count in sorted(codes.items())))
    seconds = sum(one.seconds for one in seen)
    folders = len(campaign.folders)
    print(f"{len(seen)} trials, {folders} folders, {failed} failed, seed {given.seed}")
    print(f"{seconds / 60:.1f} CPU minutes; {machine()}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
