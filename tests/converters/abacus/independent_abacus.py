"""A second reader of ABACUS's old text files, written from the format alone: dense, slow, plain.

It shares no code with `dock`: dense matrices per lattice vector in ABACUS's own units and orbital
order, and the real harmonics of ABACUS as functions, to find the order of `dock` by evaluation.
"""

import gzip

import numpy as np

RYDBERG, BOHR = 13.605698, 0.529177
M_ORDER = (0, 1, -1, 2, -2, 3, -3, 4, -4)


def lines_of(path):
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def number(word):
    if word.startswith("("):
        re, im = word.strip("()").split(",")
        return complex(float(re), float(im))
    return float(word)


def dense_block(lines, at, nnz, size):
    """One CSR matrix from three lines."""
    block = np.zeros((size, size), dtype=complex)
    if nnz == 0:
        return block, at
    values = [number(word) for word in lines[at].split()]
    cols = [int(word) for word in lines[at + 1].split()]
    ends = [int(word) for word in lines[at + 2].split()]
    for row in range(size):
        for k in range(ends[row], ends[row + 1]):
            block[row, cols[k]] = values[k]
    return block, at + 3


def read_old(path, vector=False):
    """{R: matrix}, or {R: [x, y, z]}, of a file in the layout before 3.9.0.25."""
    lines = lines_of(path)
    size, count = (int(line.split(":")[1]) for line in lines[1:3])
    at, found = 3, {}
    while at < len(lines):
        words = [int(word) for word in lines[at].split()]
        R = tuple(words[:3])
        at += 1
        if not vector:
            found[R], at = dense_block(lines, at, words[3], size)
            continue
        found[R] = []
        for _ in range(3):
            block, at = dense_block(lines, at + 1, int(lines[at]), size)
            found[R].append(block)
    return found, size, count


def bloch(matrices, k):
    """Σ_R exp(2πi k·R) X(R)."""
    return sum(np.exp(2j * np.pi * np.dot(k, R)) * X for R, X in matrices.items())


def orbital_order(zetas_of_atoms):
    """Index and sign in ABACUS's order of each orbital of `dock` (m = -l … l, all signs +).

    ABACUS: l, then zeta, then m = 0, 1, -1, 2, -2 …, with the sign (-1)^m.
    """
    index, sign, start = [], [], 0
    for zetas in zetas_of_atoms:
        for l, count in enumerate(zetas):
            for _ in range(count):
                place = {m: k for k, m in enumerate(M_ORDER[: 2 * l + 1])}
                for m in range(-l, l + 1):
                    index.append(start + place[m])
                    sign.append((-1) ** m)
                start += 2 * l + 1
    return np.array(index), np.array(sign)
