from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from graft.cli.main import main
from graft.stats.simulation import Cell, simulate
from graft.workbench import selftest
from graft.workbench.selftest import Outcome, full_grid, row


def test_the_full_grid_has_every_number_of_seeds_with_every_spread_of_seeds() -> None:
    cells = full_grid()
    assert {(cell.seeds, cell.seed_sd) for cell in cells} >= {(s, d) for s in (2, 3, 5, 10) for d in (0, 0.02, 0.04)}
    assert all(cell.seeds >= 2 for cell in cells)
    assert len({(cell.name, cell.seeds, cell.seed_sd, cell.words) for cell in cells}) == len(cells)


def test_a_row_says_which_promise_is_broken() -> None:
    found = simulate(Cell("null", seeds=2, words=50), 20, np.random.default_rng(0))
    assert row(replace(found, coverage_base=0.5))[-1] == "the 95% interval against base covers 50.0%"
    assert row(replace(found, coverage_base=0.95, coverage_control=0.95))[-1] == "kept"
    assert not Outcome((found, replace(found, false_transfer=0.5))).kept


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 1)])
def test_the_command_prints_every_kind_and_its_exit_code_says_whether_promises_are_kept(
    broken: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Cell("null", seeds=2, words=30, targets=2)
    monkeypatch.setattr(selftest, "small_grid", lambda: (wrong,))
    if broken:
        monkeypatch.setattr(Cell, "truth", lambda self, arm, target: 0.9 if arm == "base" else 0.1)
    assert main(["--json", "selftest", "science", "--studies", "8"]) == code
    printed = json.loads(capsys.readouterr().out)
    assert printed["kept"] is not broken
    assert [cell["cell"]["name"] for cell in printed["cells"]] == ["null"]
