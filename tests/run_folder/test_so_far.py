"""Looking at a run before it is done."""

import pytest

from hpc_curate.cli import main
from hpc_curate.errors import Blocked
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.reader import Reader
from hpc_curate.run_folder.so_far import SoFar
from hpc_curate.run_folder.state import State


def test_what_is_not_done_is_empty_and_stops_nobody(prepared):
    plan = prepared("recipe=full", units=3)
    with pytest.raises(Blocked):
        Reader(State(plan, Ledger(plan.paths)), "report", 0).table("edges")
    found = SoFar(plan)
    assert not found.has("edges")
    assert found.table("edges").num_rows == 0
    assert found.costs().num_rows == 0
    assert found.books().units.num_rows == 3


def test_a_run_in_which_nothing_is_done_has_a_report(prepared, capsys, tmp_path):
    plan = prepared(units=3)
    assert main(["report", str(plan.paths.root), "-o", str(tmp_path / "pages")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "pages" / "index.html")
    text = (tmp_path / "pages" / "index.html").read_text()
    assert "The run is not over: 3 videos pending." in text
    assert "There are no clips yet." in (tmp_path / "pages" / "clips.html").read_text()
