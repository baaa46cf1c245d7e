"""Initial parameters: a nested dict of arrays, a pure function of sizes and seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dock.errors import UsageError
from dock.models.modelfile import flatten
from dock.models.network.config import NetworkConfig
from dock.models.statistics import Statistics
from dock.models.targets import TargetLayout

__all__ = ["count_parameters", "init_params"]

_PAIR_FEATURES = 16
_SPECIES_FEATURES = 16


class _Maker:
    """Draws arrays in a fixed order."""

    def __init__(self, seed: int, dtype: DTypeLike) -> None:
        self._random = np.random.default_rng(seed)
        self._dtype = np.dtype(dtype)

    def normal(self, *shape: int, scale: float | None = None) -> NDArray[Any]:
        """Return normal numbers of standard deviation `scale`, default 1/√(inputs)."""
        fan_in = shape[-2] if len(shape) > 1 else 1
        width = fan_in**-0.5 if scale is None else scale
        return (self._random.normal(size=shape) * width).astype(self._dtype)

    def zeros(self, size: int) -> NDArray[Any]:
        """Return zeros."""
        return np.zeros(size, self._dtype)

    def mlp(self, inputs: int, hidden: int, outputs: int) -> dict[str, Any]:
        """Return a network of two layers."""
        w0, w1 = self.normal(inputs, hidden), self.normal(hidden, outputs)
        return {"w0": w0, "b0": self.zeros(hidden), "w1": w1, "b1": self.zeros(outputs)}

    def so2(self, inputs: tuple[int, int], outputs: tuple[int, int], lmax: int) -> dict[str, Any]:
        """Return a map of `so2_linear` from (natural, pseudo) to (natural, pseudo) channels."""
        rows = lmax + 1
        maps = {"m0": self.normal(rows * inputs[0], rows * outputs[0])}
        if inputs[1] and outputs[1]:
            maps["p0"] = self.normal(rows * inputs[1], rows * outputs[1])
        for m in range(1, lmax + 1):
            rows = lmax + 1 - m
            maps[f"m{m}"] = self.normal(rows * sum(inputs), rows * sum(outputs))
        return maps

    def norm(self, natural: int, pseudo: int, lmax: int) -> dict[str, Any]:
        """Return the weights of a normalisation."""
        ones = np.ones((lmax + 1, natural + pseudo), self._dtype)
        return {"w": ones, "b": self.zeros(natural)}

    def outputs(self, n_kinds: int, channels: tuple[int, int], layout: TargetLayout) -> list[Any]:
        """Return for each kind of part what mixes its channels, natural or pseudo."""
        return [
            self.normal(n_kinds, channels[0 if irrep.natural else 1], irrep.multiplicity)
            for irrep in layout.irreps
        ]

    def mix(self, inputs: tuple[int, int], outputs: tuple[int, int], lmax: int) -> dict[str, Any]:
        """Return the matrices of `mix_channels`."""
        mix = {"n": self.normal(lmax + 1, inputs[0], outputs[0]), "b": self.zeros(outputs[0])}
        if inputs[1] and outputs[1]:
            mix["p"] = self.normal(lmax + 1, inputs[1], outputs[1])
        return mix


def init_params(
    config: NetworkConfig,
    layout: TargetLayout,
    statistics: Statistics,
    seed: int = 0,
    dtype: DTypeLike = np.float32,
) -> dict[str, Any]:
    """Return the initial parameters, a nested dict.

    Shift and scale of the targets become ``constants`` of the model. ``blocks`` is a list: stacked
    arrays would be copied at every step, forward and backward, which took a third of its time.

    Raises
    ------
    UsageError
        When lmax is too small for the targets, or pseudo-tensors are needed and there are no
        pseudo channels.
    """
    _require_fitting(config, layout)
    make = _Maker(seed, dtype)
    c = config
    radial = c.n_radial + _PAIR_FEATURES
    params: dict[str, Any] = {
        "species": make.normal(layout.n_species, c.channels, scale=1.0),
        "pair": make.normal(layout.n_species**2, _PAIR_FEATURES, scale=1.0),
        "start": make.mlp(radial, c.radial_hidden, (c.lmax + 1) * c.edge_channels),
    }
    if c.moments:
        params["moment"] = {"size": make.mlp(2, c.radial_hidden, c.channels)}
        name, width = ("scalar", 2 * c.channels) if c.moment_unit else ("axial", c.pseudo_channels)
        params["moment"][name] = make.normal(layout.n_species, max(width, 1), scale=1.0)
    params["blocks"] = [_block(make, c, layout) for _ in range(c.n_blocks)]
    params["node_head"] = _node_head(make, c, layout)
    params["edge_head"] = _edge_head(make, c, layout)
    names = ("node_shift", "node_scale", "edge_scale")
    params["constants"] = {name: getattr(statistics, name).astype(dtype) for name in names}
    return params


def _require_fitting(config: NetworkConfig, layout: TargetLayout) -> None:
    """Refuse a network that cannot give all parts of the targets."""
    if config.lmax < layout.max_J:
        raise UsageError(
            f"the network has lmax {config.lmax}, the targets reach J = {layout.max_J}: use an "
            "lmax of at least that."
        )
    pseudo = any(not irrep.natural for irrep in layout.irreps)
    if pseudo and 0 in (config.pseudo_channels, config.edge_pseudo_channels, config.hidden_pseudo):
        raise UsageError(
            "the targets have parts of parity −(−1)^J (p–d blocks, spin), which need pseudo "
            "channels: give net_irreps with terms such as 8x1e+8x2o."
        )


def _block(make: _Maker, c: NetworkConfig, layout: TargetLayout) -> dict[str, Any]:
    """Return the parameters of one interaction."""
    node, edge = (c.channels, c.pseudo_channels), (c.edge_channels, c.edge_pseudo_channels)
    hidden = (c.hidden, c.hidden_pseudo)
    inputs = (2 * node[0] + edge[0], 2 * node[1] + edge[1])
    radial = c.n_radial + _PAIR_FEATURES
    outputs = (node[0] + edge[0], node[1] + edge[1])
    width = c.radial_hidden
    block = {
        "norm_x": make.norm(*node, c.lmax),
        "norm_e": make.norm(*edge, c.lmax),
        "radial": make.mlp(radial, width, (c.lmax + 1) * sum(inputs)),
        "first": make.so2(inputs, hidden, c.lmax),
        "gate": make.mlp(hidden[0] + radial, width, (c.lmax + 1) * sum(hidden)),
        "second": make.so2(hidden, outputs, c.lmax),
        "weight": make.mlp(hidden[0] + radial, width, sum(node)),
        "out": make.mix(node, node, c.lmax),
        "norm_f": make.norm(*node, c.lmax),
        "f_in": make.mix(node, node, c.lmax),
        "f_species": make.normal(layout.n_species, _SPECIES_FEATURES, scale=1.0),
        "f_gate": make.mlp(node[0] + _SPECIES_FEATURES, width, (c.lmax + 1) * sum(node)),
        "f_out": make.mix(node, node, c.lmax),
    }
    if c.n_heads:
        block["attention"] = make.mlp(hidden[0] + radial, width, c.n_heads)
    return block


def _node_head(make: _Maker, c: NetworkConfig, layout: TargetLayout) -> dict[str, Any]:
    """Return the parameters of the on-site output."""
    node = (c.channels, c.pseudo_channels)
    extra = c.self_product
    head: dict[str, Any] = {"norm": make.norm(*node, c.lmax)}
    if extra:
        head["left"] = make.mix(node, (extra, 0), c.lmax)
        head["right"] = make.mix(node, (extra, 0), c.lmax)
    head["out"] = make.outputs(layout.n_species, (node[0] + extra, node[1] + extra), layout)
    return head


def _edge_head(make: _Maker, c: NetworkConfig, layout: TargetLayout) -> dict[str, Any]:
    """Return the parameters of the off-site output."""
    edge = (c.edge_channels, c.edge_pseudo_channels)
    return {
        "norm": make.norm(*edge, c.lmax),
        "mix": make.so2(edge, edge, c.lmax),
        "out": make.outputs(layout.n_species**2, edge, layout),
    }


def count_parameters(params: Any) -> int:
    """Return how many numbers are trained (``constants`` are not)."""
    trained = {name: part for name, part in params.items() if name != "constants"}
    return sum(int(np.size(array)) for array in flatten(trained).values())
