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


def stored(folder):
    """Functions of the cell, and (cell, row, column) of each number that is stored, all from 0."""
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
    places = {}
    for c, cell in enumerate(cells[:-1]):
        for row in range(n_basis):
            for place in range(tables[0][c][row], tables[1][c][row] + 1):
                if tables[0][c][row] == 0:
                    break
                places[place] = (cell, row, columns[place - 1] - 1)
    return n_basis, [places[place] for place in sorted(places)]


def read_values(folder, name):
    return [float(line) for line in (folder / name).read_text().split()]


def read_matrix(folder, name):
    """{R: dense matrix} with both triangles."""
    n_basis, places = stored(folder)
    fractional, _ = read_positions(folder)
    shift, atom = folded_shift(fractional), atoms_of_functions(folder)
    found = {}
    for value, (cell, row, col) in zip(read_values(folder, name)[:-1], places, strict=True):
        R = tuple((shift[atom[row]] - shift[atom[col]] - np.array(cell)).tolist())
        minus = tuple(-x for x in R)
        for vector, a, b in ((R, row, col), (minus, col, row)):
            block = found.setdefault(vector, np.zeros((n_basis, n_basis)))
            block[a, b] = value
    return found


def warm_start(folder, file, spin=0):
    """The numbers of rs_hamiltonian as the patched FHI-aims takes them from a warm-start file.

    Atoms sorted by symbol, R the negative of the cell, blocks in eV, the partner where a block is
    absent, zero where both are; with two spins the block of the spin in a block of four.
    """
    import h5py

    lines = (folder / "geometry.in").read_text().splitlines()
    atoms = [line.split() for line in lines if line.split()[:1] in (["atom"], ["atom_frac"])]
    symbols = [words[4].rstrip("0123456789") for words in atoms]
    number = {a: n for n, a in enumerate(sorted(range(len(symbols)), key=lambda a: symbols[a]))}
    atom = atoms_of_functions(folder)
    m = [
        int(line.split()[5]) for line in (folder / "basis-indices.out").read_text().splitlines()[2:]
    ]
    sign = [sign_of(value) for value in m]
    local = [row - int(np.argmax(atom == atom[row])) for row in range(len(atom))]
    with h5py.File(file) as h5:
        starts, shapes = h5["chunk_boundaries"][()], h5["chunk_shapes"][()]
        entries, pairs = h5["entries"][()], h5["atom_pairs"][()]
    blocks = {
        tuple(pair): entries[starts[k] : starts[k + 1]].reshape(shapes[k]).real
        for k, pair in enumerate(pairs.tolist())
    }
    size, values = np.bincount(atom), []
    for cell, row, col in stored(folder)[1]:
        i, j = atom[row], atom[col]
        R = tuple(-x for x in cell)
        place = (local[row] + spin * size[i], local[col] + spin * size[j])
        block = blocks.get((*R, number[i], number[j]))
        if block is None:
            block = blocks.get((*cell, number[j], number[i]))
            place = place[::-1]
        value = 0.0 if block is None else block[place]
        values.append(value * sign[row] * sign[col] / 27.2113845)
    return values


def sign_of(m):
    """Sign of FHI-aims' real harmonic of m against the standard one."""
    return -1 if m > 0 and m % 2 == 1 else 1
