"""Two studies are compared by what was tried and what came of it."""

from __future__ import annotations

from llmwright.core import files
from llmwright.tuning.comparison import compare


def study(folder, values, best=1):
    folder.mkdir()
    trials = [{"values": {"train.lr": i}, "value": value} for i, value in enumerate(values)]
    files.write_json(folder / "study.json", {"trials": trials, "best": best})
    return folder


def test_differences_are_measured(tmp_path) -> None:
    one = study(tmp_path / "one", [0.5, None, 0.2])
    same = compare(one, study(tmp_path / "same", [0.5, None, 0.2]))
    assert [finding.equal for finding in same] == [True, True, True]
    other = {f.name: f for f in compare(one, study(tmp_path / "other", [0.5, None, 0.3], best=3))}
    assert other["tried"].equal
    assert not other["best"].equal
    assert round(other["values"].difference, 6) == 0.1
    pruned = {f.name: f for f in compare(one, study(tmp_path / "pruned", [0.5, 0.1, 0.2]))}
    assert pruned["values"].difference is None
