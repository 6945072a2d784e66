"""A run as it stands, for those who look before it is done: what is not there yet is empty."""

from __future__ import annotations

from hpc_curate.plan import Plan
from hpc_curate.run_folder.ledger import Ledger, Record
from hpc_curate.run_folder.reader import Reader
from hpc_curate.run_folder.state import State


class SoFar(Reader):
    """Implements `inputs.Inputs` over all units; of a stage it reads those that are done."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(State(plan, Ledger(plan.paths)), next(reversed(plan.steps)), 0)

    _alone = False  # whatever the last stage of the recipe is

    def _units(self) -> list[int]:
        return list(range(self._state.plan.units))

    def _records(self, writer: str) -> list[Record]:
        if writer not in self._found:
            self._found[writer] = self._state.finished(writer)
        return self._found[writer]

    def has(self, name: str) -> bool:
        """Whether a stage of the recipe writes it, and something of it is there."""
        return super().has(name) and bool(self._records(self._state.plan.writers[name]))
