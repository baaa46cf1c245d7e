"""What a network consists of, and the two presets."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from dock.errors import UsageError
from dock.models.targets import TargetLayout

__all__ = ["PRESETS", "NetworkConfig"]

_LOG = logging.getLogger("dock")


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and switches of the SO(2) network.

    Attributes
    ----------
    lmax
        Largest l of the features; at least the largest J of the targets.
    channels, pseudo_channels
        Features of each l on an atom with parity (−1)^l, and with the other parity.
    edge_channels, edge_pseudo_channels, hidden, hidden_pseudo
        The same on an edge, and inside a convolution.
    n_blocks
        Number of interactions.
    n_radial, radial_reach
        Gaussians that describe a distance, and the distance of the last one, Å.
    radial_hidden
        Width of the networks of distances.
    n_heads
        Heads of the attention over neighbours; 0 for a plain weighted sum.
    self_product, self_product_lmax
        Channels of the products of an atom's features with themselves before the output, 0 for
        none, and the largest l of the factors.
    cutoffs
        For each ordered pair of species the distance, Å, at which edges end in the training data
        and where messages go to zero smoothly; 0 where nothing was cut off.
    mean_degree
        Edges per atom of the training data, which messages are divided by the root of.
    moments
        Whether atoms have a spin moment as input.
    moment_unit
        0 for moments that are axial vectors. Else they are numbers, along the spin of the channel
        that is predicted, in this unit, μ_B.
    remat
        Recompute the blocks in the backward pass instead of storing them.
    """

    lmax: int = 4
    channels: int = 16
    pseudo_channels: int = 8
    edge_channels: int = 16
    edge_pseudo_channels: int = 8
    hidden: int = 16
    hidden_pseudo: int = 8
    n_blocks: int = 3
    n_radial: int = 32
    radial_hidden: int = 48
    radial_reach: float = 8.0
    n_heads: int = 0
    self_product: int = 0
    self_product_lmax: int = 3
    cutoffs: tuple[float, ...] = ()
    mean_degree: float = 1.0
    moments: bool = False
    moment_unit: float = 0.0
    remat: bool = False

    def __post_init__(self) -> None:
        for name in ("channels", "edge_channels", "hidden", "n_blocks", "n_radial"):
            if getattr(self, name) < 1:
                raise UsageError(f"the network needs {name} of at least 1.")
        for width in (self.channels, self.pseudo_channels):
            if self.n_heads and width % self.n_heads:
                raise UsageError(
                    f"{self.n_heads} heads do not divide {width} channels: choose a divisor."
                )
        object.__setattr__(self, "cutoffs", tuple(float(value) for value in self.cutoffs))

    @classmethod
    def preset(cls, name: str) -> NetworkConfig:
        """Return one of the presets.

        Raises
        ------
        UsageError
            Listing them, for any other name.
        """
        if name not in PRESETS:
            raise UsageError(f"net_type '{name}' is not known; there are {', '.join(PRESETS)}.")
        return PRESETS[name]

    def fitted_to(self, layout: TargetLayout) -> NetworkConfig:
        """Return the same network with lmax large enough for the targets."""
        return replace(self, lmax=max(self.lmax, layout.max_J))

    def with_irreps(self, text: str) -> NetworkConfig:
        """Return the network with features as in an irreps string such as ``32x0e+32x1o+8x1e``.

        Parities are those of e3nn: (−1)^l is natural, the other is a pseudo-tensor. All l of one
        kind have the same multiplicity here: of a string with several, the one that makes as many
        numbers. A string of even parts alone, as programs without parity have it, means parts of
        parity (−1)^l, and half as many of the other. Both are said.

        Raises
        ------
        UsageError
            For text that is no such string.
        """
        natural, pseudo = _parse(text)
        given = _terms(natural, pseudo)
        if any(l % 2 for l in pseudo) and not any(l % 2 for l in natural):  # 48x0e+48x1e+40x2e
            natural = natural | {l: count for l, count in pseudo.items() if l % 2}
            pseudo = {l: max(1, count // 2) for l, count in natural.items() if l}
        if not natural or sorted(natural) != list(range(max(natural) + 1)):
            raise UsageError(f"net_irreps '{text}' must hold every l from 0 with parity (−1)^l.")
        own, other = _uniform(natural), _uniform(pseudo)
        taken = _terms(dict.fromkeys(natural, own), dict.fromkeys(pseudo, other))
        if taken != given:
            _LOG.info(
                "net_irreps '%s' is taken as '%s': every l of one kind has one multiplicity here, "
                "and natural parts have the parity (−1)^l",
                text,
                taken,
            )
        wide: dict[str, Any] = dict.fromkeys(("channels", "edge_channels", "hidden"), own)
        narrow = ("pseudo_channels", "edge_pseudo_channels", "hidden_pseudo")
        wide |= dict.fromkeys(narrow, other)
        return replace(self, lmax=max(natural), **wide)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `from_dict` takes."""
        return asdict(self) | {"cutoffs": list(self.cutoffs)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NetworkConfig:
        """Make a configuration from what `to_dict` returned."""
        return cls(**data)


def _terms(natural: Mapping[int, int], pseudo: Mapping[int, int]) -> str:
    """Return multiplicities of natural and of pseudo parts as a string."""
    terms = [f"{natural[l]}x{l}{'eo'[l % 2]}" for l in sorted(natural)]
    return "+".join(terms + [f"{pseudo[l]}x{l}{'oe'[l % 2]}" for l in sorted(pseudo)])


def _uniform(counts: Mapping[int, int]) -> int:
    """Return the multiplicity of every l that makes as many numbers; a multiple of 4 if not theirs.

    So that a number of heads that divides all of them is likely to divide it.
    """
    different = set(counts.values())
    if len(different) < 2:
        return different.pop() if different else 0
    numbers = sum((2 * l + 1) * count for l, count in counts.items())
    return 4 * max(1, round(numbers / sum(2 * l + 1 for l in counts) / 4))


def _parse(text: str) -> tuple[dict[int, int], dict[int, int]]:
    """Return the multiplicities of natural and of pseudo parts by l."""
    natural: dict[int, int] = {}
    pseudo: dict[int, int] = {}
    for term in text.replace(" ", "").split("+"):
        part = re.fullmatch(r"(?:(\d+)x)?(\d+)([eo])", term)
        if part is None:
            raise UsageError(
                f"net_irreps '{text}': '{term}' is no part such as '32x1o' (multiplicity, l, "
                "parity e or o)."
            )
        count, l = int(part[1] or 1), int(part[2])
        kind = natural if part[3] == "eo"[l % 2] else pseudo
        kind[l] = kind.get(l, 0) + count
    return natural, pseudo


PRESETS: dict[str, NetworkConfig] = {
    "normal": NetworkConfig(),
    "accurate": NetworkConfig(
        channels=48,
        pseudo_channels=16,
        edge_channels=48,
        edge_pseudo_channels=16,
        hidden=32,
        hidden_pseudo=16,
        n_blocks=3,
        radial_hidden=448,
        n_heads=4,
        self_product=16,
    ),
}
