"""A plain reader of HSX (version 1, 2) and DM files, row by row, to test the real one against.

It follows the description of the files and shares no code with the package: loops, `struct`, and
one dense matrix for each lattice vector.
"""

import struct

import numpy as np


def records(data, order="<"):
    found, place = [], 0
    while place < len(data):
        (length,) = struct.unpack_from(order + "i", data, place)
        found.append(data[place + 4 : place + 4 + length])
        assert struct.unpack_from(order + "i", data, place + 4 + length) == (length,)
        place += length + 8
    return found


def ints(data, order="<"):
    return list(struct.unpack(f"{order}{len(data) // 4}i", data))


def doubles(data, order="<"):
    return list(struct.unpack(f"{order}{len(data) // 8}d", data))


def signs(shells):
    """Sign of each orbital of a species against y, z, x and xy, yz, ...: minus for odd |m|."""
    found, place = [], 0
    while place < len(shells):
        l = shells[place][1]
        found += [-1.0 if m % 2 else 1.0 for m in range(-l, l + 1)]
        place += 2 * l + 1
    return found


def images(nsc):
    axes = [[k if k <= n // 2 else k - n for k in range(n)] for n in nsc]
    return [(a, b, c) for c in axes[2] for b in axes[1] for a in axes[0]]


def hsx(path, rydberg):
    """Return a dict with the header and dense complex H(R) (2N, 2N) and S(R) (N, N), eV."""
    rows = records(path.read_bytes())
    (version,) = ints(rows[0])
    assert version in (1, 2)
    assert ints(rows[1]) == [1]
    n_atoms, n, n_spin, n_species, *nsc = ints(rows[2])
    numbers = doubles(rows[3])
    n_images = nsc[0] * nsc[1] * nsc[2]
    offset = ints(rows[4][: 12 * n_images])
    shifts = [tuple(offset[3 * k : 3 * k + 3]) for k in range(n_images)]
    begin = 12 * n_images
    positions = np.array(doubles(rows[4][begin : begin + 24 * n_atoms])).reshape(-1, 3)
    kinds = ints(rows[4][begin + 24 * n_atoms : begin + 28 * n_atoms])
    place = 6
    shells = []
    for _ in range(n_species):
        flat = ints(rows[place])
        shells.append([tuple(flat[k : k + 3]) for k in range(0, len(flat), 3)])
        place += 1
    place += version == 2
    sign = np.array([s for kind in kinds for s in signs(shells[kind - 1])])
    counts = ints(rows[place])
    columns = [ints(row) for row in rows[place + 1 : place + 1 + n]]
    place += 1 + n
    parts = []
    for _ in range(n_spin + 1):
        parts.append([doubles(row) for row in rows[place : place + n]])
        place += n
    assert place == len(rows)
    dense = []
    for part in parts:
        table = {shift: np.zeros((n, n)) for shift in shifts}
        for i in range(n):
            assert len(columns[i]) == counts[i]
            for column, value in zip(columns[i], part[i], strict=True):
                image, j = divmod(column - 1, n)
                table[shifts[image]][i, j] = value * sign[i] * sign[j]
        dense.append(table)
    return {
        "nsc": tuple(nsc),
        "cell": np.array(numbers[:9]).reshape(3, 3),
        "positions": positions,
        "fermi": numbers[9] * rydberg,
        "electrons": numbers[10],
        "shifts": shifts,
        "S": dense[-1],
        "H": [{r: m * rydberg for r, m in table.items()} for table in dense[:-1]],
        "sign": sign,
    }


def dm(path, sign):
    """Return dense components of a density matrix file, in the signs of dock."""
    rows = records(path.read_bytes())
    n, n_spin, *nsc = ints(rows[0])
    columns = [ints(row) for row in rows[2 : 2 + n]]
    found, place = [], 2 + n
    for _ in range(n_spin):
        table = {shift: np.zeros((n, n)) for shift in images(nsc)}
        for i in range(n):
            values = doubles(rows[place + i])
            for column, value in zip(columns[i], values, strict=True):
                image, j = divmod(column - 1, n)
                table[images(nsc)[image]][i, j] = value * sign[i] * sign[j]
        place += n
        found.append(table)
    return found
