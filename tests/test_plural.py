"""One of a thing is one thing."""

from __future__ import annotations

from hpc_curate.plural import counted, listed


def test_one_is_one_and_no_other_number_is() -> None:
    assert [counted(number, "unit") for number in (0, 1, 2, 1000)] == ["0 units", "1 unit", "2 units", "1,000 units"]
    assert [counted(number, "process", "processes") for number in (1, 2)] == ["1 process", "2 processes"]


def test_of_many_the_first_are_named() -> None:
    assert (listed([1, 2]), listed((1, 2, 3), most=2)) == ("1, 2", "1, 2 ...")
