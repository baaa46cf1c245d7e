"""What a training starts from: the network of the options, and the devices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from datasets import small_options

from dock.core.spin import Spin
from dock.errors import UsageError
from dock.models.network.config import NetworkConfig
from dock.models.statistics import StatisticsBuilder
from dock.models.targets import TargetLayout

pytest.importorskip("jax")

from dock.models.network.environment import choose_devices
from dock.models.network.training.setup import make_config


def options(tmp_path, data=".", **changes):
    return small_options(tmp_path / "t.toml", data, **changes)


class TestConfig:
    LAYOUT = TargetLayout(("C", "H"), ((0, 1), (0,)), Spin.NONE)

    def config(self, tmp_path, cutoffs=(0.0,) * 4, layout=LAYOUT, **changes):
        given = options(tmp_path, **{"model.advanced.net_irreps": "", **changes})
        statistics = StatisticsBuilder(layout).result()
        return make_config(given, layout, statistics, np.array(cutoffs))

    def test_presets_with_changes(self, tmp_path):
        found = self.config(tmp_path, **{"model.net_type": "eagle"})
        assert found.n_heads == NetworkConfig.preset("accurate").n_heads > 0
        assert (found.n_blocks, found.radial_hidden, found.n_radial) == (1, 4, 4)
        changes = {"model.advanced.num_heads": 0, "process.train.do_remat": True}
        other = self.config(tmp_path, **{"model.net_type": "accurate"}, **changes)
        assert other == replace(found, n_heads=0, remat=True)

    def test_reach_of_the_gaussians(self, tmp_path):
        assert self.config(tmp_path).radial_reach == 8.0
        assert self.config(tmp_path, cutoffs=(10.0,) * 4).radial_reach == pytest.approx(11.0)
        changes = {"model.advanced.gaussian_basis_rmax": 5.0}
        assert self.config(tmp_path, **changes).radial_reach == 5.0

    def test_irreps_too_small_for_the_targets(self, tmp_path):
        layout = TargetLayout(("C",), ((0, 1, 2),), Spin.NONE)
        with pytest.raises(UsageError) as caught:
            self.config(
                tmp_path, (0.0,), layout, **{"model.advanced.net_irreps": "8x0e+8x1o+8x2e+4x1e"}
            )
        good = str(caught.value).split("'")[-2]
        found = self.config(tmp_path, (0.0,), layout, **{"model.advanced.net_irreps": good})
        assert (found.lmax, found.channels, found.pseudo_channels) == (4, 8, 4)

    def test_heads_that_do_not_divide(self, tmp_path):
        changes = {"model.advanced.num_heads": 3, "model.advanced.net_irreps": "8x0e+8x1o+8x2e"}
        with pytest.raises(UsageError, match="3 heads do not divide 8"):
            self.config(tmp_path, **changes)


class TestDevices:
    def test_there(self):
        assert len(choose_devices("cpu")) == 1

    def test_too_many(self):
        with pytest.raises(UsageError, match="99 wanted, 1 there"):
            choose_devices("cpu*99")

    def test_no_such_kind(self):
        with pytest.raises(UsageError, match="JAX sees no tpu here, only cpu"):
            choose_devices("tpu")
