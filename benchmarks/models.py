"""Models: water against the aims, steps and inference against size, in tables.

    python benchmarks/models.py water --data WATER_SET         (examples/water.py WATER_SET)
    python benchmarks/models.py molecules --data WATER_SET [--study SCRIPT NPZ]
    python benchmarks/models.py steps
    python benchmarks/models.py infer --model RUN --basis IONS --m 1 5 10 20 30
    python benchmarks/models.py learning --data WATER_SET
    python benchmarks/models.py sets --data SET --epochs 300 [--other STRUCTURE ...]

Every training and every inference runs in a process of its own, with one BLAS and XLA thread unless
said otherwise; seconds are CPU seconds of the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _measure import machine, run

DOCK = Path(sys.executable).with_name("dock")
OPTIONS = """
[data]
inputs_dir = "{data}"
outputs_dir = "{out}"
[model]
backend = "{backend}"
net_type = "{preset}"
baseline = "{baseline}"
[model.advanced]
n_radial = {n_radial}
[process.train]
max_epoch = {epochs}
ema_decay = {ema}
[process.train.dataloader]
batch_size = {batch}
dataset_split_json = "{split}"
only_use_train_loss = {blind}
[process.train.optimizer]
init_learning_rate = 4e-3
"""


def trained(folder: Path, data: Path, split: Path, **chosen: object) -> tuple[dict, float]:
    """Train once in a process of its own; return the result and the CPU seconds.

    Nothing is compiled before: programs go to a folder of this training.
    """
    settings = {
        "backend": "jax",
        "preset": "normal",
        "baseline": "three-centre",
        "epochs": 250,
        "n_radial": 12,
        "ema": 0.999,
        "batch": 10,
        "blind": "false",
    } | chosen
    name = "-".join(str(value) for value in chosen.values()) or "default"
    options = folder / f"{name}.toml"
    out = folder / name
    os.environ["DOCK_JAX_CACHE"] = str(folder / f"{name}-programs")
    options.write_text(OPTIONS.format(data=data, out=out, split=split, **settings))
    cost = run([DOCK, "train", options, "--quiet"])
    return json.loads((out / "result.json").read_text()), cost.cpu


def row(name: str, result: dict, cpu: float) -> None:
    """Print one line of the table of errors."""
    errors = [result.get(f"{kind}_mae") for kind in ("validation", "test")]
    shown = "".join(f"{1e3 * error:12.4f}" for error in errors if error is not None)
    print(f"{name:44s}{cpu:10.1f}{shown}", flush=True)


def water(given: argparse.Namespace) -> None:
    """Print errors and CPU seconds of each kind of model on the water set."""
    data, folder = given.data.resolve(), Path(tempfile.mkdtemp())
    split = data / "split.json"
    print(f"{'model':44s}{'CPU s':>10s}{'validation':>12s}{'test':>12s}   MAE in meV")
    for backend in ("two-centre", "three-centre"):
        row(f"{backend}, closed form", *trained(folder, data, split, backend=backend, epochs=1))
    for baseline, epochs in (("two-centre", 125), ("three-centre", 250)):
        found = trained(folder, data, split, baseline=baseline, epochs=epochs)
        row(f"normal on {baseline}, {epochs} epochs", *found)
    row(
        "accurate on three-centre, 40 epochs",
        *trained(folder, data, split, preset="accurate", epochs=40),
    )
    del os.environ["DOCK_JAX_CACHE"]
    _latency(folder / "three-centre-250", data)


_LATENCY = """
import time, sys
import numpy as np
from dock.converters import read
from dock.models import load
model = load(sys.argv[1])
calc = read(sys.argv[2])
overlap = calc.require("overlap")
graph = model.graph(calc.structure, overlap)
for what, call in (
    ("network alone", lambda: model._engine.predict([graph])),
    ("whole, one structure", lambda: model.predict(calc.structure, overlap)),
    ("whole, 100 at once, each", lambda: model.predict_graphs([graph] * 100)),
):
    call()
    times = []
    for _ in range(30):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    scale = 10.0 if "100" in what else 1000.0
    print(f"{what}: {np.median(times) * scale:.2f} ms")
"""


def _latency(model: Path, data: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _LATENCY, str(model), str(data / "000")],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    print(done.stdout, end="")


def learning(given: argparse.Namespace) -> None:
    """Print errors against the number of structures."""
    data, folder = given.data.resolve(), Path(tempfile.mkdtemp())
    whole = json.loads((data / "split.json").read_text())
    print(f"{'model':44s}{'CPU s':>10s}{'validation':>12s}{'test':>12s}   MAE in meV")
    for count in (100, 200, 400):
        split = folder / f"split{count}.json"
        split.write_text(json.dumps({**whole, "train": whole["train"][:count]}))
        closed = trained(folder, data, split, backend="three-centre", epochs=count)
        row(f"three-centre, {count} structures", *closed)
        epochs = 50_000 // count  # 5,000 steps
        network = trained(folder, data, split, baseline="three-centre", epochs=epochs)
        row(f"normal on three-centre, {count} structures", *network)


_ERRORS = ("mae_hamiltonian_eV", "mae_band_eV", "shift_hamiltonian_eV")
_MOLECULES = """
import json, sys, time
begin = time.process_time()
from pathlib import Path
import numpy as np
from dock.io.progress import Progress
from dock.models.options import read_train
from dock.models.network.environment import keep_freed_memory, prepare_process
prepare_process("cpu")
keep_freed_memory()
import jax
from dock.models.network.model import apply
from dock.models.network.parameters import count_parameters
from dock.models.network.training.run import _Run
from dock.models.network.training.setup import prepare
options = read_train(Path(sys.argv[1]))
ready = time.process_time()
setup = prepare(options)
begin += time.process_time() - ready
run = _Run(options, setup, Progress())
engine = run.engine
batch = engine.put(next(iter(run.batcher.examples())))
state, loss = engine.step(run.state, batch, 1e-9, 0.99)
jax.block_until_ready(loss)
start = time.process_time() - begin
n_edges = 6
one = {name: value[: 3 if name in ("species", "atom_mask") else n_edges]
       for name, value in batch.items() if "label" not in name}
params = engine.packing.unpack({name: np.asarray(part) for name, part in state.params.items()})
whole = jax.device_put({**params, "constants": engine._constants})
forward = jax.jit(lambda params, part: apply(params, engine.config, engine.layout, part))
count = count_parameters(params)
def measured(call, n):
    times = []
    for _ in range(n):
        begin = time.process_time()
        jax.block_until_ready(call())
        times.append(time.process_time() - begin)
    return 1e3 * float(np.median(times[3:]))
alone = measured(lambda: forward(whole, one), 60)
box = [state]
def step():
    box[0], loss = engine.step(box[0], batch, 1e-9, 0.99)
    return loss
print(json.dumps([count, start, measured(step, 40), alone]))
"""


def molecules(given: argparse.Namespace) -> None:
    """Print start, a step of ten molecules and the network on one, on one core; the study beside.

    The start is all that a training costs until its first step is done, data apart. Run it twice:
    the second time programs come from the cache.

    The study's script (`--study`) gives the scale: on its machine DeepH-E3 took 14.5 times as
    long for a step, and 32 times as long for one molecule, as its network of 16 channels.
    """
    folder = Path(tempfile.mkdtemp())
    core = ["taskset", "-c", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    print(f"{'':24s}{'parameters':>12s}{'start / s':>11s}{'step / ms':>11s}{'one / ms':>10s}")
    for preset in ("normal", "accurate"):
        options = folder / f"{preset}.toml"
        settings = {"backend": "jax", "preset": preset, "baseline": "two-centre", "epochs": 1}
        text = OPTIONS.format(
            data=given.data.resolve(),
            out=folder / preset,
            split=given.data.resolve() / "split.json",
            **settings,
            **(SMALL | {"n_radial": 12, "batch": 10}),
        )
        options.write_text(text)
        words = [*core, sys.executable, "-c", _MOLECULES, str(options)]
        done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
        count, start, step, one = json.loads(done.stdout.splitlines()[-1])
        print(f"{preset:24s}{count:12,d}{start:11.1f}{step:11.1f}{one:10.2f}", flush=True)
    if given.study:
        script, data = given.study
        words = [sys.executable, str(script), str(data), "--timing"]
        for width in ("16", "32"):
            sizes = ["--C", width, "--Ce", width, "--H", width]
            done = subprocess.run(
                [*core, *words, *sizes], env=environment, check=True, capture_output=True, text=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            step, one = 1e3 * found["s_per_step"], 1e3 * found["inference_s"]
            name = f"the study, {width} channels"
            print(
                f"{name:24s}{found['parameters']:12,d}{'':11s}{step:11.1f}{one:10.2f}", flush=True
            )


SMALL = {"n_radial": 16, "ema": 0.99, "batch": 1, "blind": "true"}


def sets(given: argparse.Namespace) -> None:
    """Print errors of H and of the bands within ±3 eV for the last four structures of a set."""
    data, folder = given.data.resolve(), Path(tempfile.mkdtemp())
    names = sorted(path.name for path in data.iterdir() if path.is_dir())
    split = folder / "split.json"
    split.write_text(json.dumps({"train": names[:-4], "validate": [], "test": names[-4:]}))
    tests = [data / name for name in names[-4:]] + [path.resolve() for path in given.other]
    print(f"{'model of ' + data.name:30s}{'CPU s':>12s}")
    heads = ("H / meV", "bands / meV", "gauge / meV", "DOS / %")
    print(f"{'structure':18s}" + "".join(f"{word:>12s}" for word in heads))
    for backend, epochs in (("three-centre", 1), ("jax", given.epochs)):
        chosen = {"backend": backend, "epochs": epochs} | SMALL
        cost = trained(folder, data, split, **chosen)[1]
        model = folder / "-".join(str(value) for value in chosen.values())
        print(f"{backend:30s}{cost:12.0f}", flush=True)
        for path in tests:
            out = folder / backend / path.name
            run([DOCK, "infer", model, path, "-o", out])
            run([DOCK, "evaluate", out, path, "--width", 6, "-o", out / "errors"])
            (found,) = json.loads((out / "errors" / "evaluation.json").read_text())["structures"]
            errors = [1e3 * found[key] for key in _ERRORS] + [100 * found["mae_dos"]]
            print(f"{path.name:18s}" + "".join(f"{error:12.3f}" for error in errors), flush=True)


_STEP = """
import json, resource, sys, time
import numpy as np
n, cutoff, lmax, preset = json.loads(sys.argv[1])
import jax
from dataclasses import replace
from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.models.data.batches import make_batch
from dock.models.data.samples import Item
from dock.models.graph import build_graph
from dock.models.network.config import NetworkConfig
from dock.models.network.model import apply
from dock.models.network.parameters import init_params
from dock.models.statistics import StatisticsBuilder
from dock.models.targets import TargetLayout
from dock.overlap.neighbours import orbital_pairs
rng = np.random.default_rng(1)
side = int(np.ceil(n ** (1 / 3)))
grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n]
positions = 2.5 * (grid + rng.uniform(-0.1, 0.1, grid.shape))
structure = Structure(np.eye(3) * 2.5 * side, positions, np.full(n, 14), pbc=(False,) * 3)
shells = [l for l in range(lmax // 2 + 1)]
basis = Basis.from_ls({"Si": shells}, structure.labels)
pairs = orbital_pairs(structure, {"Si": cutoff / 2})
layout = TargetLayout.from_bases([basis], Spin.NONE)
graph = build_graph(structure, basis, pairs, layout.species)
m = layout.n_common
node = rng.normal(size=(n, 1, m, m)); edge = rng.normal(size=(graph.n_edges, 1, m, m))
builder = StatisticsBuilder(layout); builder.add(graph, node, edge); statistics = builder.result()
config = replace(NetworkConfig.preset(preset), lmax=lmax, mean_degree=statistics.mean_degree)
params = jax.tree.map(jax.numpy.asarray, init_params(config, layout, statistics, 0, np.float32))
batch = make_batch([Item(graph, node, edge)], None, np.float32)
def loss(params, batch):
    a, b = apply(params, config, layout, batch)
    return abs(a - batch["node_label"]).sum() + abs(b - batch["edge_label"]).sum()
constants = params.pop("constants")
step = jax.jit(jax.grad(lambda p, b: loss({**p, "constants": constants}, b)))
jax.block_until_ready(step(params, batch))
times = []
for _ in range(3):
    begin = time.process_time(); jax.block_until_ready(step(params, batch))
    times.append(time.process_time() - begin)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([graph.n_edges, min(times), peak]))
"""


def _step(*words: object) -> tuple[int, float, float]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    }
    done = subprocess.run(
        [sys.executable, "-c", _STEP, json.dumps(words)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    edges, seconds, peak = json.loads(done.stdout)
    return edges, seconds, peak


def steps(given: argparse.Namespace) -> None:
    """Print the cost of a gradient against atoms, neighbours and lmax, with exponents."""
    import numpy as np

    tables = {
        "atoms": [(n, 4.0, 4) for n in (27, 64, 125, 216, 343)],
        "neighbours": [(64, cutoff, 4) for cutoff in (2.8, 4.0, 4.8, 5.8, 7.0)],
        "lmax": [(64, 4.0, lmax) for lmax in (2, 3, 4, 5, 6, 7)],
    }
    print(f"{'atoms':>6s}{'edges':>8s}{'lmax':>6s}{'CPU s':>10s}{'peak MB':>9s}   {given.preset}")
    for name, cases in tables.items():
        found = []
        for n, cutoff, lmax in cases:
            edges, seconds, peak = _step(n, cutoff, lmax, given.preset)
            print(f"{n:6d}{edges:8d}{lmax:6d}{seconds:10.3f}{peak:9.0f}", flush=True)
            found.append((lmax if name == "lmax" else edges, seconds, peak))
        size, seconds, _ = np.log(np.array(found)).T
        power = np.polyfit(size[-4:], seconds[-4:], 1)[0]
        print(f"  against {name}: time ∝ {'lmax' if name == 'lmax' else 'edges'}^{power:.2f}")


def infer(given: argparse.Namespace) -> None:
    """Print what predictions of twisted bilayers cost, overlap and files included."""
    import numpy as np

    folder = Path(tempfile.mkdtemp())
    print(f"{'atoms':>7s}{'wall s':>9s}{'CPU s':>9s}{'peak MB':>9s}{'file MB':>9s}")
    found = []
    for m in given.m:
        place = folder / f"m{m}"
        run(
            [
                DOCK,
                "build",
                "twisted-bilayer",
                "--layer",
                "graphene",
                "--m",
                m,
                "-o",
                place / "POSCAR",
            ]
        )
        begin = time.perf_counter()
        words = [DOCK, "infer", given.model, place / "POSCAR", "--basis", given.basis]
        cost = run([*words, "-o", place / "out", "--single-precision"], threads=given.threads)
        wall = time.perf_counter() - begin
        atoms = json.loads((place / "out" / "prediction.json").read_text())["atoms"]
        size = (place / "out" / "hamiltonian_pred.h5").stat().st_size / 1e6
        print(f"{atoms:7d}{wall:9.1f}{cost.cpu:9.1f}{cost.peak_mb:9.0f}{size:9.1f}", flush=True)
        found.append((atoms, cost.cpu))
    large = np.log(np.array([one for one in found if one[0] > 300]))
    if len(large) > 1:
        print(
            f"CPU ∝ atoms^{np.polyfit(*large.T, 1)[0]:.2f} from {np.exp(large[0, 0]):.0f} atoms on"
        )


def main() -> None:
    """Read the command line and run one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "table", choices=["water", "learning", "steps", "infer", "sets", "molecules"]
    )
    parser.add_argument("--data", type=Path, help="the folder that examples/water.py made")
    parser.add_argument("--model", type=Path, help="run folder of a model of bilayer graphene")
    parser.add_argument("--basis", type=Path, help="folder with C.ion.xml")
    parser.add_argument("--m", type=int, nargs="*", default=[1, 5, 10, 20, 30])
    parser.add_argument("--epochs", type=int, default=300, help="of sets")
    parser.add_argument("--other", type=Path, nargs="*", default=[], help="more structures to test")
    parser.add_argument(
        "--study", type=Path, nargs=2, metavar=("SCRIPT", "NPZ"), help="the study's network, too"
    )
    parser.add_argument("--preset", default="normal")
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args()
    print(f"machine: {machine()}")
    tables = {
        "water": water,
        "learning": learning,
        "molecules": molecules,
        "steps": steps,
        "infer": infer,
        "sets": sets,
    }
    tables[given.table](given)


if __name__ == "__main__":
    main()
