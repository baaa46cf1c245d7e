"""Matrices laid out as versions of ABACUS since 2025 write them, from their description alone.

Each function takes {R: dense matrix} in ABACUS's order and units, and returns the bytes of a file.
"""

import struct

import numpy as np


def dense_of(matrix):
    """{R: (N, N) matrix} of a matrix in ABACUS's order and units."""
    blocks = {}
    for R in matrix.pairs.lattice_vectors.tolist():
        blocks[tuple(R)] = matrix.to_csr(R).toarray()
    return blocks


def csr(block):
    rows, cols = np.nonzero(block)
    ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(block)))])
    return block[rows, cols], cols, ends


def wrapped(words, width):
    lines = [" " + " ".join(words[at : at + width]) for at in range(0, len(words), width)]
    return "\n".join(lines or [""]) + "\n"


def numbers(values):
    if np.iscomplexobj(values):
        return [f"({value.real:.16e},{value.imag:.16e})" for value in values]
    return [f"{value:.16e}" for value in values]


def old_text(blocks, head="STEP: 0", letter="H"):
    """The layout of ``STEP:``: an empty matrix has its header line only."""
    size = len(next(iter(blocks.values())))
    lines = [head, f"Matrix Dimension of {letter}(R): {size}"]
    lines.append(f"Matrix number of {letter}(R): {len(blocks)}")
    for R, block in blocks.items():
        values, cols, ends = csr(block)
        lines.append(" ".join(map(str, [*R, len(values)])))
        if len(values):
            parts = (numbers(values), map(str, cols), map(str, ends))
            lines += [" " + " ".join(words) for words in parts]
    return ("\n".join(lines) + "\n").encode()


def new_text(blocks, structure, step=1, letter="H", spin=1, width=(6, 16), folded=False):
    """The layout of ``--- Ionic Step``; an empty matrix has titles and N + 1 zeros."""
    size = len(next(iter(blocks.values())))
    title = "density matrix" if letter == "DM" else f"{letter} matrix"
    out = [f" --- Ionic Step {step} ---\n # print {title} in real space {letter}(R)\n"]
    out.append(f" 1 # number of spin directions\n {spin} # spin index\n")
    out.append(f" {size} # number of localized basis\n")
    out.append(f" {len(blocks)} # number of Bravais lattice vector R\n\n")
    out.append(" user_defined_lattice\n 1\n")
    out += [" " + " ".join(f"{x:.6g}" for x in row) + "\n" for row in structure.cell]
    labels = list(dict.fromkeys(structure.labels))
    counts = [structure.labels.count(label) for label in labels]
    out.append(f" {' '.join(labels)}\n {' '.join(map(str, counts))}\n Direct\n")
    out += [" " + " ".join(f"{x:.15g}" for x in row) + "\n" for row in structure.fractional]
    if folded:
        out.append("# representation: gamma-only folded matrix; stored R-space contributions\n")
    box = " #" + "-" * 70 + "#\n"
    out.append(f"\n{box} #{'CSR Format':^70}#\n{box}\n")
    for R, block in blocks.items():
        values, cols, ends = csr(block)
        out.append(" " + " ".join(map(str, [*R, len(values)])) + "\n")
        out.append(f" # CSR values\n{wrapped(numbers(values), width[0])}")
        out.append(f" # CSR column indices\n{wrapped([str(col) for col in cols], width[1])}")
        per_line = width[1] if len(values) else size + 1
        out.append(f" # CSR row pointers\n{wrapped([str(end) for end in ends], per_line)}\n")
    return "".join(out).encode()


def binary(blocks, step=0):
    """Native records: int32 step, N, nR; R, nnz, values, int32 columns, int64 pointers."""
    parts = [struct.pack("=3i", step, len(next(iter(blocks.values()))), len(blocks))]
    for R, block in blocks.items():
        values, cols, ends = csr(block)
        parts += [struct.pack("=4i", *R, len(values)), values.tobytes()]
        parts += [cols.astype("i4").tobytes(), ends.astype("i8").tobytes()]
    return b"".join(parts)


def write_npz(path, matrix, structure, bohr=0.529177):
    """One array for each pair with i ≤ j, and the structure."""
    arrays = {"lattice_vectors": (structure.cell / bohr).reshape(-1)}
    kinds = [list(dict.fromkeys(structure.labels)).index(label) for label in structure.labels]
    arrays["atom_info"] = np.column_stack([kinds, structure.numbers, structure.fractional])
    pairs = matrix.pairs
    for R, i, j in zip(pairs.R.tolist(), pairs.i.tolist(), pairs.j.tolist(), strict=True):
        if i <= j:
            arrays[f"mat_{i}_{j}_{R[0]}_{R[1]}_{R[2]}"] = matrix.block(R, i, j)
    np.savez(path, **arrays)


def edit(path, *changes):
    """Replace texts, which must be there, in a file."""
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    return path
