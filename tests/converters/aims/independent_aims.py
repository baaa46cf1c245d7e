"""A second reader of FHI-aims' periodic text files, written from the format alone: plain loops.

It shares no code with `dock`: one dense matrix per lattice vector, in Hartree and FHI-aims' own
orbital order, with lattice vectors counted from the positions in geometry.in.
"""

import numpy as np


def read_positions(folder):
    """Fractional positions and cell."""
    cell, rows = [], []
    for line in (folder / "geometry.in").read_text().splitlines():
        words = line.split("#")[0].split()
        if words and words[0] == "lattice_vector":
            cell.append([float(x) for x in words[1:4]])
        elif words and words[0] in ("atom", "atom_frac"):
            rows.append((words[0], [float(x) for x in words[1:4]]))
    cell = np.array(cell)
    inverse = np.linalg.inv(cell)
    fractional = [np.array(x) if kind == "atom_frac" else np.array(x) @ inverse for kind, x in rows]
    return np.array(fractional), cell


def atoms_of_functions(folder):
    lines = (folder / "basis-indices.out").read_text().splitlines()[2:]
    return np.array([int(line.split()[2]) - 1 for line in lines])


def folded_shift(fractional):
    """Integers n with fractional − n in (−1/2, 1/2]."""
    shift = np.floor(fractional + 0.5)
    shift[np.abs(fractional - shift + 0.5) < 1e-9] -= 1
    return shift.astype(int)


def read_matrix(folder, name):
    """{R: dense matrix} with both triangles."""
    words = iter((folder / "rs_indices.out").read_text().split("\n"))
    header = [int(next(words).split(":")[1]) for _ in range(3)]
    n_stored, n_cells, n_basis = header
    next(words)
    cells = [tuple(int(x) for x in next(words).split()) for _ in range(n_cells)]
    tables = []
    for _ in range(2):
        next(words)
        tables.append([[int(x) for x in next(words).split()] for _ in range(n_cells)])
    next(words)
    columns = [int(next(words)) for _ in range(n_stored)]
    values = [float(line) for line in (folder / name).read_text().split()]
    fractional, _ = read_positions(folder)
    shift, atom = folded_shift(fractional), atoms_of_functions(folder)
    found = {}
    for c, cell in enumerate(cells[:-1]):
        for row in range(n_basis):
            for place in range(tables[0][c][row], tables[1][c][row] + 1):
                if tables[0][c][row] == 0:
                    break
                col = columns[place - 1] - 1
                R = tuple((shift[atom[row]] - shift[atom[col]] - np.array(cell)).tolist())
                minus = tuple(-x for x in R)
                for vector, a, b in ((R, row, col), (minus, col, row)):
                    block = found.setdefault(vector, np.zeros((n_basis, n_basis)))
                    block[a, b] = values[place - 1]
    return found


def sign_of(m):
    """Sign of FHI-aims' real harmonic of m against the standard one."""
    return -1 if m > 0 and m % 2 == 1 else 1
