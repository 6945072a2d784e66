from __future__ import annotations

import pytest

from hpc_curate.preview import tiles


@pytest.mark.parametrize(
    "found, strata",
    [
        ([("too dark", "rejected"), (None, "kept"), (None, "failed")], ["too dark", "kept", "failed"]),
        ([(True, "kept"), (False, "kept"), (None, "failed")], ["True", "False", "failed"]),
    ],
)
def test_a_clip_without_a_value_is_named_by_its_state(found, strata):
    assert tiles._strata(found) == strata
