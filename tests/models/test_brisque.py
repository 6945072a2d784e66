"""The parts of BRISQUE that can be computed by hand; what it says of pictures is in tests/measures/test_brisque.py."""

import numpy as np
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.models import brisque


def test_a_gaussian_is_fitted_with_its_own_shape_and_deviations():
    values = np.random.default_rng(0).normal(0, 0.5, (400, 500)).astype(np.float32)
    shape, left, right = brisque.fitted(values)
    assert shape == pytest.approx(2, abs=0.05)
    assert [left, right] == pytest.approx([0.5, 0.5], rel=0.01)


def test_a_laplacian_with_a_wider_right_side_is_told():
    values = np.random.default_rng(0).laplace(0, 1, (400, 500)).astype(np.float32)
    shape, left, right = brisque.fitted(np.where(values > 0, 3 * values, values))
    assert right / left == pytest.approx(3, rel=0.02)
    assert shape < 1.5


def test_a_flat_picture_has_no_score():
    assert np.isnan(brisque.load()(np.full((64, 64), 90, np.uint8)))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    hostile = tmp_path / "normalize.pickle"
    hostile.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ConfigError, match="os.system"):
        brisque.ranges(hostile)
