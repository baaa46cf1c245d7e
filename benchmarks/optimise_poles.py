"""Poles of the smallest largest error for the Fermi function: makes dock/states/poles/poles.npz.

    python benchmarks/optimise_poles.py [--poles 6 28] [-o poles.npz]

For each number n of poles and depth d the sum 2 Re Σ w_j/(ξ_j − y) is made to miss 1/(1 + e^y) on
[−d, ∞) by as little as possible: the error of the best sum alternates 4n + 1 times (energies in
k_B T). A first sum comes from an adaptive Antoulas–Anderson fit with a zero at infinity (Y.
Nakatsukasa, O. Sète and L. N. Trefethen, SIAM J. Sci. Comput. 40, A1494 (2018)), or where rounding
spoils it from those with fewer poles; least squares with Lawson's weights bring it near, Remez's
algorithm in extended precision makes it exact, and the depth is changed in small steps from
there. The outermost pair of poles is kept as a quadratic, which stays regular if it becomes real.

Takes some ten minutes of one core; prints the error of each n at whole powers of two.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline

LOW, HIGH, STEPS = 6.0, 19.0, 4  # powers of two of the depth, and how many are kept of each
WORST, BEST = 3e-3, 4e-12  # errors that are kept
STARTS = (18, 17, 16, 19, 14, 13, 12, 10, 8)  # where a number of poles is begun
TOP = 1e6
Long = np.longdouble


@dataclass(frozen=True)
class Sum:
    """Poles and weights, but for the outermost pair: (α + βu)/(u² + s), u = (y − a)/l."""

    p: np.ndarray
    c: np.ndarray
    t: np.ndarray  # α, β, a, s
    l: np.longdouble

    @classmethod
    def of(cls, poles, depth):
        """Return the sum of least squares for poles."""
        poles = poles[np.argsort(np.abs(poles))]
        y = samples(depth, 400)
        matrix = terms(y, poles)
        scale = np.linalg.norm(matrix, axis=0)
        x = np.linalg.lstsq(matrix / scale, fermi(y), rcond=1e-15)[0] / scale
        c = x[: len(poles)] + 1j * x[len(poles) :]
        a, b, l = poles[-1].real, poles[-1].imag, abs(poles[-1].real)
        t = [2 * b * c[-1].imag / l**2, -2 * c[-1].real / l, a, (b / l) ** 2]
        long = np.clongdouble
        return cls(poles[:-1].astype(long), c[:-1].astype(long), np.array(t, Long), Long(l))

    def tail(self, y):
        """Return u, what stands below, and the outermost pair's part."""
        u = (y - self.t[2]) / self.l
        below = u * u + self.t[3]
        return u, below, (self.t[0] + self.t[1] * u) / below

    def error(self, y):
        """Return f minus the sum."""
        inner = 2 * (self.c / (self.p - y[:, None])).real.sum(axis=1)
        return fermi(y) - inner - self.tail(y)[2]

    def poles(self):
        """Return all poles; real ones are outside what is tabulated."""
        last = self.t[2] + 1j * self.l * np.sqrt(self.t[3])
        return np.append(self.p, last).astype(np.complex128)

    def jacobian(self, y):
        """Return derivatives by Re c, Im c, Re p/Im p, Im p/Im p, α, β, a, s."""
        a = 1 / (self.p - y[:, None])
        b = -self.c * a * a * np.abs(self.p.imag)
        u, below, value = self.tail(y)
        t = [1 / below, u / below, (2 * u * value - self.t[1]) / self.l / below, -value / below]
        return np.concatenate([2 * a.real, -2 * a.imag, 2 * b.real, -2 * b.imag, np.stack(t, 1)], 1)

    def moved(self, x):
        """Return the sum with changes in the order of `jacobian`."""
        m = len(self.p)
        p = self.p + (x[2 * m : 3 * m] + 1j * x[3 * m : 4 * m]) * np.abs(self.p.imag)
        return replace(self, p=p, c=self.c + x[:m] + 1j * x[m : 2 * m], t=self.t + x[4 * m :])


def fermi(y):
    small = np.exp(-np.abs(y))
    return np.where(y > 0, small, 1) / (1 + small)


def samples(depth, number, *, ends=False):
    """Return points on both sides of 0, with `ends` denser at −depth."""
    u = np.linspace(0, 1, number)
    below = -np.sinh(np.arcsinh(depth) * (np.sin(0.5 * np.pi * u) if ends else u))
    return np.concatenate([below[::-1], np.sinh(np.arcsinh(TOP) * u[1:])])


def terms(y, poles):
    a = 2 / (poles - y[:, None])
    return np.concatenate([a.real, -a.imag], axis=1)


def solve_long(A, b):
    """Solve A x = b in extended precision."""
    A, b = A.copy(), b.copy()
    for i in range(len(b)):
        j = i + int(np.argmax(np.abs(A[i:, i])))
        A[[i, j]], b[[i, j]] = A[[j, i]], b[[j, i]]
        factor = A[i + 1 :, i] / A[i, i]
        A[i + 1 :, i:] -= factor[:, None] * A[i, i:]
        b[i + 1 :] -= factor * b[i]
    x = np.zeros_like(b)
    for i in reversed(range(len(b))):
        x[i] = (b[i] - A[i, i + 1 :] @ x[i + 1 :]) / A[i, i]
    return x


# ------------------------------------------------------------------- a first sum


def antoulas_anderson(depth, n, number):
    """Return the upper poles of a barycentric fit with 2n poles that vanishes at infinity."""
    y = samples(depth, number)
    f, free, chosen = fermi(y), np.ones(2 * number - 1, dtype=bool), []
    found = np.full(len(y), f.mean())
    for _ in range(2 * n):
        k = int(np.argmax(np.abs(f - found) * free))
        chosen.append(k)
        free[k] = False
        cauchy = 1 / (y[free, None] - y[chosen])
        loewner = np.column_stack([(f[free, None] - f[chosen]) * cauchy, f[free]])
        w = np.linalg.svd(loewner, full_matrices=False)[2][-1] if len(chosen) > 1 else np.ones(2)
        found = f.copy()
        found[free] = cauchy @ (w[:-1] * f[chosen]) / (w[-1] + cauchy @ w[:-1])
    poles = np.linalg.eigvals(np.diag(y[chosen]) - np.outer(np.ones(2 * n), w[:-1]) / w[-1])
    return poles[poles.imag > 1e-9]


def lawson(depth, poles, number, turns=(40, 100)):
    """Return poles of least squares, then with weights that grow where the error is large."""
    y = samples(depth, number)
    f, w, damping, best = fermi(y), np.ones(2 * number - 1), 1e-3, (np.inf, poles)

    def project(poles, w):
        matrix = terms(y, poles) * w[:, None]
        scale = np.linalg.norm(matrix, axis=0)
        q, r = np.linalg.qr(matrix / scale)
        x = np.linalg.lstsq(r, q.T @ (f * w), rcond=1e-15)[0] / scale
        return q, x, f * w - matrix @ x

    for turn in range(sum(turns)):
        if turn >= turns[0]:
            off = np.abs(project(poles, w)[2] / w)
            best = min(best, (off.max(), poles), key=lambda pair: pair[0])
            w = w * (off / off.max() + 1e-2) ** 0.7
            w = np.maximum(w / w.max(), 1e-3)
            damping = min(damping, 1e-2)
        q, x, r = project(poles, w)
        n = len(poles)
        b = -(x[:n] + 1j * x[n:]) * poles / (poles - y[:, None]) ** 2
        J = np.concatenate([2 * b.real, -2 * b.imag], axis=1) * w[:, None]
        J -= q @ (q.T @ J)
        scale = np.linalg.norm(J, axis=0)
        U, S, Vt = np.linalg.svd(J / scale, full_matrices=False)
        for _ in range(6):
            step = Vt.T @ (U.T @ r * S / (S * S + damping)) / scale
            z = step[:n] + 1j * step[n:]
            trial = poles * np.exp(z * min(1, 0.5 / np.abs(z).max()))
            upper = np.all(trial.imag > 0)
            if upper and np.linalg.norm(project(trial, w)[2]) < np.linalg.norm(r):
                poles, damping = trial, max(damping / 8, 1e-15)
                break
            damping *= 8
    return best[1]


# ------------------------------------------------------------------- Remez


def alternation(error, count):
    """Return where |error| is largest between its zeros; the largest `count` that alternate."""
    cuts = np.flatnonzero(np.diff(np.sign(error))) + 1
    bounds = zip(np.append(0, cuts), np.append(cuts, len(error)), strict=True)
    found = [int(a + np.argmax(np.abs(error[a:b]))) for a, b in bounds]
    while len(found) > count:
        size = np.abs(error[found])
        i = int(np.argmin(np.maximum(size[:-1], size[1:])))
        if len(found) - count == 1 or i in (0, len(size) - 2):
            found.pop(0 if size[0] < size[-1] else -1)
        else:
            del found[i : i + 2]
    if len(found) == count - 1 and found[0] != 0:
        found.insert(0, 0)  # the end of the interval, where its lobe is lost between two points
    return found


def levelled(total, z, depth):
    """Return the sum whose errors at the reference points z are ±E, by Newton's method."""
    signs = (-1.0) ** np.arange(len(z))
    for _ in range(12):
        J = np.column_stack([total.jacobian(z), signs])
        scale = np.sqrt((J * J).sum(axis=0))
        x = solve_long(J / scale, total.error(z)) / scale
        m = len(total.p)
        if not np.abs(x[2 * m : 4 * m]).max() < 0.3:
            return None
        total = total.moved(x[:-1])
        if np.any(total.p.imag <= 0) or total.t[3] <= 0 or total.t[2] > -depth:
            return None
        if np.abs(total.error(z) - signs * x[-1]).max() < 1e-5 * abs(x[-1]):
            return total
    return None


def remez(total, depth, z=None):
    """Return the best sum, its reference points and its error; None where it is not found."""
    y, count = samples(depth, 1500, ends=True).astype(Long), 4 * (len(total.p) + 1) + 1
    if z is None:
        z = y[alternation(total.error(y), count)]
    for _ in range(8):
        if len(z) != count:
            return None
        total = levelled(total, z, depth)
        if total is None:
            return None
        error = total.error(y)
        found = alternation(error, count)
        z = y[found]
        if len(found) == count and np.abs(error).max() < 1.01 * np.abs(error[found]).min():
            return total, z, float(np.abs(error).max())
    return None


def follow(first, power, direction):
    """Yield (power of two, error, poles) from a best sum on, in one direction of the depth."""
    known, step = [(power, *first[:2])], 0.01
    while step > 1e-4:
        x, total, z = known[-1]
        grid = (np.floor if direction < 0 else np.ceil)(x * STEPS + direction * 1e-9) / STEPS
        new = x + direction * step
        new = grid if (new - grid) * direction > 0 else new
        if not LOW <= new <= HIGH:
            return
        if len(known) > 1:  # everything changes nearly as a power of the depth
            before, w = known[-2], (new - x) / (x - known[-2][0])
            z = z * np.abs(z / before[2]) ** w
            p = total.p * (total.p / before[1].p) ** w
            c = total.c * np.exp(w * np.log(total.c / before[1].c))
            total = replace(total, p=p, c=c, t=total.t + w * (total.t - before[1].t))
        z = np.append(-(Long(2) ** Long(new)), z[1:])
        found = remez(total, 2.0**new, z)
        if found is None:
            step /= 2
            continue
        known, step = [known[-1], (new, *found[:2])], min(1 / STEPS, 1.6 * step)
        if new == grid:
            yield new, found[2], found[0].poles()
        if found[2] < BEST if direction < 0 else found[2] > WORST:
            return


def begin(n, known):
    """Return a power of two and the best sum there."""
    for power in STARTS:
        depth, starts = 2.0**power, []
        for number in (500, 900, 650):
            poles = antoulas_anderson(depth, n, number)
            starts += [poles] * (len(poles) == n)
        fewer = [known[power, m] for m in (n - 1, n - 2) if (power, m) in known]
        if len(fewer) == 2:
            near, far = (
                CubicSpline(np.linspace(0, 1, len(p)), np.log(p[np.argsort(np.abs(p))]))
                for p in fewer
            )
            x = np.linspace(0, 1, n)
            starts.append(np.exp(2 * near(x) - far(x)))
        for poles in starts:
            for number in (200, 300):
                found = remez(Sum.of(lawson(depth, poles, number), depth), depth)
                if found is not None and found[2] > BEST:
                    return power, found
    return None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--poles", type=int, nargs=2, default=(6, 28), metavar=("MIN", "MAX"))
    parser.add_argument("-o", "--output", default="poles.npz", metavar="FILE")
    options = parser.parse_args()
    rows, known = [], {}
    for n in range(options.poles[0], options.poles[1] + 1):
        clock, first = time.process_time(), begin(n, known)
        if first is None:
            print(f"{n:3d} poles: none found", flush=True)
            continue
        power, best = first
        found = [(float(power), best[2], best[0].poles())]
        found += [*follow(best, power, -1), *follow(best, power, 1)]
        known |= {(x, n): poles for x, _, poles in found}
        rows += [(2.0**x, n, error, poles) for x, error, poles in found if error < WORST]
        errors = " ".join(f"2^{x:g} {error:.0e}" for x, error, _ in sorted(found) if x == int(x))
        print(f"{n:3d} poles {time.process_time() - clock:5.0f} s  {errors}", flush=True)
        save(options.output, sorted(rows, key=lambda row: row[:2]))


def save(path, rows):
    """Write depths, numbers of poles, errors, and the poles of all one behind another."""
    depth, number, error, poles = zip(*rows, strict=True)
    np.savez_compressed(path, depth=depth, n_poles=number, error=error, poles=np.concatenate(poles))


if __name__ == "__main__":
    main()
