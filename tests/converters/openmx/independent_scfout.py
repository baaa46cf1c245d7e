"""A second reader of OpenMX scfout files, and a maker of small synthetic ones.

Written straight from the description of the format with `struct` and loops, without anything from
`dock`: it is slow and plain on purpose, so that the toolkit's reader and writer have a witness.
"""

import struct

import numpy as np


class Bytes:
    """A byte string read number by number."""

    def __init__(self, data, order="<"):
        self.data, self.order, self.at = data, order, 0

    def ints(self, count):
        return self._unpack("i", 4, count)

    def doubles(self, count):
        return self._unpack("d", 8, count)

    def _unpack(self, letter, size, count):
        values = struct.unpack_from(f"{self.order}{count}{letter}", self.data, self.at)
        self.at += size * count
        return list(values)


def read(data, order="<"):
    """Return a dict of everything in an scfout file of version 3 or 0."""
    src = Bytes(data, order)
    atoms, switch, *regions, n_copies = src.ints(6)
    version, spin = divmod(switch, 4)
    out = {"atoms": atoms, "version": version, "spin": spin, "regions": regions}
    orders = src.ints(1)[0] if version == 3 else 1
    out["orders"] = orders
    out["atv"] = [src.doubles(4)[1:] for _ in range(n_copies + 1)]
    out["ijk"] = [src.ints(4)[1:] for _ in range(n_copies + 1)]
    out["no"] = src.ints(atoms)
    out["fnan"] = src.ints(atoms)
    out["natn"] = [src.ints(n + 1) for n in out["fnan"]]
    out["ncn"] = [src.ints(n + 1) for n in out["fnan"]]
    out["tv"] = [src.doubles(4)[1:] for _ in range(3)]
    out["rtv"] = [src.doubles(4)[1:] for _ in range(3)]
    out["xyz"] = [src.doubles(4)[1:] for _ in range(atoms)]
    out["H"] = [_pair_matrix(src, out) for _ in range(spin + 1)]
    out["iH"] = [_pair_matrix(src, out) for _ in range(3 if spin == 3 else 0)]
    out["S"] = _pair_matrix(src, out)
    # The first index is the direction, the second the order.
    out["po"] = [[_pair_matrix(src, out) for _ in range(orders)] for _ in range(3)]
    out["mo"] = [_pair_matrix(src, out) for _ in range(3 if version == 3 else 0)]
    out["DM"] = [_pair_matrix(src, out) for _ in range(spin + 1)]
    out["iDM"] = [_pair_matrix(src, out) for _ in range(2 if version == 3 else 0)]
    out["solver"] = src.ints(1)[0]
    out["tail"] = src.doubles(10)
    out["lines"] = []
    for _ in range(src.ints(1)[0]):
        slot = data[src.at : src.at + 256]
        src.at += 256
        out["lines"].append(slot[: slot.index(0)] if 0 in slot else slot)
    out["left"] = len(data) - src.at
    return out


def _pair_matrix(src, out):
    """Return {(atom, neighbour, cell indices): block}, atoms counted from 1."""
    blocks = {}
    for i in range(1, out["atoms"] + 1):
        for j, cell in zip(out["natn"][i - 1], out["ncn"][i - 1], strict=True):
            n_i, n_j = out["no"][i - 1], out["no"][j - 1]
            rows = [src.doubles(n_j) for _ in range(n_i)]
            blocks[i, j, tuple(out["ijk"][cell])] = rows
    return blocks


def bloch(blocks, k, no):
    """Return sum over R of exp(2 pi i k.R) M(R), a dense complex matrix."""
    starts = np.concatenate([[0], np.cumsum(no)])
    total = np.zeros((starts[-1], starts[-1]), dtype=complex)
    for (i, j, cell), rows in blocks.items():
        phase = np.exp(2j * np.pi * np.dot(k, cell))
        total[starts[i - 1] : starts[i], starts[j - 1] : starts[j]] += phase * np.array(rows)
    return total


def build(
    *,
    spin=0,
    version=3,
    orders=1,
    no=(1, 4),
    cells=((0, 0, 0), (-1, 0, 0), (1, 0, 0)),
    pairs=((1, 1, 0), (1, 2, 0), (1, 2, 1), (2, 2, 0), (2, 1, 0), (2, 1, 2)),
    tail=(-0.2, 300.0, 1, 2, 3, 0, 0, 0, 8.0, 0.5),
    text="System.Name x\n",
    order="<",
    seed=0,
):
    """Make the bytes of a small scfout file; `pairs` are (i, j, cell number), ordered by i."""
    tv = np.array([[4.0, 0.5, 0.0], [0.0, 5.0, 0.25], [0.125, 0.0, 6.0]])
    rtv = 2 * np.pi * np.linalg.inv(tv).T
    rng = np.random.default_rng(seed)
    fnan = [sum(i == atom for i, _, _ in pairs) - 1 for atom in range(1, len(no) + 1)]
    out = _pack(order, "i", [len(no), spin + 4 * version, 0, 0, 0, len(cells) - 1])
    if version == 3:
        out += _pack(order, "i", [orders])
    out += b"".join(_four(order, "d", np.array(cell) @ tv) for cell in cells)
    out += b"".join(_four(order, "i", cell) for cell in cells)
    out += _pack(order, "i", no) + _pack(order, "i", fnan)
    out += _pack(order, "i", [j for _, j, _ in pairs]) + _pack(order, "i", [c for *_, c in pairs])
    out += b"".join(_four(order, "d", vector) for vector in [*tv, *rtv])
    out += b"".join(_four(order, "d", rng.normal(size=3)) for _ in no)
    n_matrices = (spin + 1) * 2 + (3 if spin == 3 else 0) + 1 + 3 * orders
    n_matrices += 5 if version == 3 else 0
    entries = sum(no[i - 1] * no[j - 1] for i, j, _ in pairs)
    out += _pack(order, "d", rng.normal(size=n_matrices * entries))
    out += _pack(order, "i", [3]) + _pack(order, "d", tail)
    lines = text.encode().splitlines(keepends=True)
    out += _pack(order, "i", [len(lines)])
    return out + b"".join((line + b"\0").ljust(256, b"\x07") for line in lines)


def _pack(order, letter, values):
    return struct.pack(f"{order}{len(values)}{letter}", *values)


def _four(order, letter, values):
    """Pack a 3-vector behind an unused component that holds garbage, as OpenMX leaves it."""
    garbage = 77 if letter == "i" else 4.7e-310
    return struct.pack(f"{order}4{letter}", garbage, *values)
