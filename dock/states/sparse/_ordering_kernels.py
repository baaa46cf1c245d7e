"""Compiled walks and flows on graphs; see `dock.states.sparse.ordering`.

Graphs are compressed rows (`starts`, `neighbours`), symmetric, without the diagonal, neighbours in
ascending order.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

_compiled = numba.njit(nogil=True, cache=True)


@_compiled  # type: ignore[untyped-decorator]
def subgraph(starts: Array, neighbours: Array, piece: Array, local: Array) -> tuple[Array, Array]:
    """Return the graph among the nodes of a piece, ascending, which are numbered from 0 in it.

    `local` is −1 for every node of the whole graph, and is left so.
    """
    n = len(piece)
    for k in range(n):
        local[piece[k]] = k
    begins = np.zeros(n + 1, np.int64)
    for k in range(n):
        count = 0
        for e in range(starts[piece[k]], starts[piece[k] + 1]):
            other = local[neighbours[e]]
            count += other >= 0 and other != k
        begins[k + 1] = begins[k] + count
    found = np.empty(begins[n], np.int64)
    for k in range(n):
        place = begins[k]
        for e in range(starts[piece[k]], starts[piece[k] + 1]):
            other = local[neighbours[e]]
            if other >= 0 and other != k:
                found[place] = other
                place += 1
    for k in range(n):
        local[piece[k]] = -1
    return begins, found


@_compiled  # type: ignore[untyped-decorator]
def components(starts: Array, neighbours: Array) -> tuple[Array, int]:
    """Return the connected part of each node, and the number of parts."""
    n = len(starts) - 1
    label = np.full(n, -1, np.int64)
    queue = np.empty(n, np.int64)
    count = 0
    for root in range(n):
        if label[root] >= 0:
            continue
        label[root] = count
        queue[0] = root
        head, tail = 0, 1
        while head < tail:
            v = queue[head]
            head += 1
            for e in range(starts[v], starts[v + 1]):
                u = neighbours[e]
                if label[u] < 0:
                    label[u] = count
                    queue[tail] = u
                    tail += 1
        count += 1
    return label, count


@_compiled  # type: ignore[untyped-decorator]
def steps(starts: Array, neighbours: Array, root: int) -> tuple[Array, Array]:
    """Return the steps from a node to each node of a connected graph, and the nodes by them."""
    n = len(starts) - 1
    distance = np.full(n, -1, np.int64)
    queue = np.empty(n, np.int64)
    distance[root] = 0
    queue[0] = root
    head, tail = 0, 1
    while head < tail:
        v = queue[head]
        head += 1
        for e in range(starts[v], starts[v + 1]):
            u = neighbours[e]
            if distance[u] < 0:
                distance[u] = distance[v] + 1
                queue[tail] = u
                tail += 1
    return distance, queue


@_compiled  # type: ignore[untyped-decorator]
def unwrap(
    starts: Array, neighbours: Array, queue: Array, fractional: Array
) -> tuple[Array, Array]:
    """Follow the links of a part of a periodic structure, each to the nearest image.

    `queue` has the nodes, each behind one that it touches. Returns positions without jumps at the
    cell's faces, and in which lattice directions the part closes on itself (links do jump).
    """
    n = len(queue)
    found = fractional.copy()
    known = np.zeros(n, np.bool_)
    known[queue[0]] = True
    closed = np.zeros(3, np.bool_)
    for v in queue:
        for e in range(starts[v], starts[v + 1]):
            u = neighbours[e]
            for k in range(3):
                step = fractional[u, k] - fractional[v, k]
                step -= np.rint(step)
                if not known[u]:
                    found[u, k] = found[v, k] + step
                elif abs(found[u, k] - found[v, k] - step) > 0.5:
                    closed[k] = True
            known[u] = True
    return found, closed


@_compiled  # type: ignore[untyped-decorator]
def touched(starts: Array, neighbours: Array, piece: Array, others: Array, local: Array) -> Array:
    """Return which of other nodes some of a piece touch; `local` is −1, and is left so."""
    found = np.zeros(len(others), np.bool_)
    for k in range(len(others)):
        local[others[k]] = k
    for v in piece:
        for e in range(starts[v], starts[v + 1]):
            if local[neighbours[e]] >= 0:
                found[local[neighbours[e]]] = True
    for k in range(len(others)):
        local[others[k]] = -1
    return found


@_compiled  # type: ignore[untyped-decorator]
def smallest_separators(
    starts: Array, neighbours: Array, sizes: Array, side: Array
) -> tuple[bool, Array, Array]:
    """Separate two sides by as little as possible.

    `side` is 0 for nodes on the near side, 2 for those on the far side, 1 for those that may be
    on either or between. Returns whether a separator exists (no near node touches a far one), and
    the labels 0, 1 (separator), 2 of the smallest separator next to the near side and of that
    next to the far side.

    The largest flow from side to side through nodes of limited capacity (Dinic): a node is an
    entrance, number v, and an exit, number n + v, and what flows from one to the other is at most
    its size.
    """
    first, last, apart = _borders(starts, neighbours, side)
    if not apart:
        return False, side, side
    free, begins, links, back = _network(starts, neighbours, side)
    first, last, capacity = first[free], last[free], sizes[free]
    n = len(capacity)
    flow = np.zeros(len(links), np.int64)  # from a node's exit to another's entrance
    through = np.zeros(n, np.int64)
    level = np.empty(2 * n, np.int64)
    while _levels(begins, links, back, capacity, first, last, flow, through, level):
        _augment(begins, links, back, capacity, first, last, flow, through, level)
    drained = _drained(begins, links, capacity, last, flow, through)
    near, far = side.copy(), side.copy()
    for k in range(n):
        entered, left = level[k] >= 0, level[n + k] >= 0
        near[free[k]] = 0 if left else (1 if entered else 2)
        far[free[k]] = 2 if drained[k] else (1 if drained[n + k] else 0)
    return True, near, far


@_compiled  # type: ignore[untyped-decorator]
def _borders(starts: Array, neighbours: Array, side: Array) -> tuple[Array, Array, bool]:
    """Return which nodes touch the near and which the far side, and if these are apart."""
    first = np.zeros(len(side), np.bool_)
    last = np.zeros(len(side), np.bool_)
    for v in range(len(side)):
        for e in range(starts[v], starts[v + 1]):
            first[v] |= side[neighbours[e]] == 0
            last[v] |= side[neighbours[e]] == 2
    return first, last, not np.any(first & (side == 2))


@_compiled  # type: ignore[untyped-decorator]
def _network(starts: Array, neighbours: Array, side: Array) -> tuple[Array, Array, Array, Array]:
    """Return the free nodes, their links in compressed rows, and the place of each one's way back.

    In the network they are numbered from 0.
    """
    free = np.flatnonzero(side == 1)
    n = len(free)
    local = np.full(len(side), -1, np.int64)
    for k in range(n):
        local[free[k]] = k
    begins = np.zeros(n + 1, np.int64)
    for k in range(n):
        begins[k + 1] = begins[k]
        for e in range(starts[free[k]], starts[free[k] + 1]):
            begins[k + 1] += side[neighbours[e]] == 1
    links = np.empty(begins[n], np.int64)
    back = np.empty(begins[n], np.int64)
    for k in range(n):
        place = begins[k]
        for e in range(starts[free[k]], starts[free[k] + 1]):
            if local[neighbours[e]] >= 0:
                links[place] = local[neighbours[e]]
                place += 1
    # Rows are gone through in ascending order, in which each node's links stand.
    place_in = begins[:n].copy()
    for k in range(n):
        for e in range(begins[k], begins[k + 1]):
            back[e] = place_in[links[e]]
            place_in[links[e]] += 1
    return free, begins, links, back


@_compiled  # type: ignore[untyped-decorator]
def _levels(
    begins: Array,
    links: Array,
    back: Array,
    capacity: Array,
    first: Array,
    last: Array,
    flow: Array,
    through: Array,
    level: Array,
) -> bool:
    """Set the steps from the near side of entrances and exits; say if the far side is reached."""
    n = len(capacity)
    queue = np.empty(2 * n, np.int64)
    head, tail = 0, 0
    level[:] = -1
    for v in range(n):
        if first[v]:
            level[v] = 0
            queue[tail] = v
            tail += 1
    goal = -1
    while head < tail:
        x = queue[head]
        head += 1
        if 0 <= goal <= level[x]:
            break
        v = x if x < n else x - n
        twin = n + v if x < n else v
        if level[twin] < 0 and (through[v] < capacity[v] if x < n else through[v] > 0):
            level[twin] = level[x] + 1
            queue[tail] = twin
            tail += 1
            if x < n and last[v]:
                goal = level[twin]
        for e in range(begins[v], begins[v + 1]):
            other = n + links[e] if x < n else links[e]
            if level[other] < 0 and (x >= n or flow[back[e]] > 0):
                level[other] = level[x] + 1
                queue[tail] = other
                tail += 1
                if x < n and last[links[e]]:
                    goal = level[other]
    return goal >= 0


@_compiled  # type: ignore[untyped-decorator]
def _augment(
    begins: Array,
    links: Array,
    back: Array,
    capacity: Array,
    first: Array,
    last: Array,
    flow: Array,
    through: Array,
    level: Array,
) -> None:
    """Send what fits along the shortest ways, those that go up one level at each step."""
    n = len(capacity)
    turn = np.full(2 * n, -1, np.int64)  # the next link to try; −1 is that to a node's own twin
    path = np.empty(2 * n, np.int64)
    for root in range(n):
        if not first[root]:
            continue
        depth = 0
        path[0] = root
        while depth >= 0:
            x = path[depth]
            v = x if x < n else x - n
            if x >= n and last[v]:
                _send(begins, back, capacity, flow, through, path, turn, depth)
                depth = 0
                continue
            stuck = True
            while turn[x] < begins[v + 1] - begins[v]:
                if turn[x] < 0:
                    other = n + v if x < n else v
                    open_ = through[v] < capacity[v] if x < n else through[v] > 0
                else:
                    e = begins[v] + turn[x]
                    other = n + links[e] if x < n else links[e]
                    open_ = x >= n or flow[back[e]] > 0
                if open_ and level[other] == level[x] + 1:
                    depth += 1
                    path[depth] = other
                    stuck = False
                    break
                turn[x] += 1
            if stuck:
                depth -= 1
                if depth >= 0:
                    turn[path[depth]] += 1


@_compiled  # type: ignore[untyped-decorator]
def _send(
    begins: Array,
    back: Array,
    capacity: Array,
    flow: Array,
    through: Array,
    path: Array,
    turn: Array,
    depth: int,
) -> None:
    """Send along a path what its narrowest place lets through."""
    n = len(capacity)
    amount = np.int64(2**62)
    for i in range(depth):
        x = path[i]
        if x < n:
            room = capacity[x] - through[x] if turn[x] < 0 else flow[back[begins[x] + turn[x]]]
            amount = min(amount, room)
        elif turn[x] < 0:
            amount = min(amount, through[x - n])
    for i in range(depth):
        x = path[i]
        if x < n:
            if turn[x] < 0:
                through[x] += amount
            else:
                flow[back[begins[x] + turn[x]]] -= amount
        elif turn[x] < 0:
            through[x - n] -= amount
        else:
            flow[begins[x - n] + turn[x]] += amount


@_compiled  # type: ignore[untyped-decorator]
def _drained(
    begins: Array, links: Array, capacity: Array, last: Array, flow: Array, through: Array
) -> Array:
    """Return from which entrances and exits more could flow to the far side."""
    n = len(capacity)
    found = np.zeros(2 * n, np.bool_)
    queue = np.empty(2 * n, np.int64)
    head, tail = 0, 0
    for v in range(n):
        if last[v]:
            found[n + v] = True
            queue[tail] = n + v
            tail += 1
    while head < tail:
        x = queue[head]
        head += 1
        v = x if x < n else x - n
        twin = n + v if x < n else v
        # An exit is reached from its entrance below capacity, an entrance from every exit.
        if not found[twin] and (through[v] > 0 if x < n else through[v] < capacity[v]):
            found[twin] = True
            queue[tail] = twin
            tail += 1
        for e in range(begins[v], begins[v + 1]):
            other = n + links[e] if x < n else links[e]
            if not found[other] and (x < n or flow[e] > 0):
                found[other] = True
                queue[tail] = other
                tail += 1
    return found
