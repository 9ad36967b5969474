"""How far a run has come, through a file and back."""

from __future__ import annotations

import json
import math

from llmwright.core import files
from llmwright.training.following.validation import Validation
from llmwright.training.state import State


def test_a_loss_that_was_no_number_is_none_after_a_resume_either() -> None:
    before = State(step=4, best_step=2, evaluations=[{"step": 2, "loss": math.nan}])
    after = State.from_json(json.loads(files.to_json(before.to_json())))
    assert (after.step, after.best_step) == (4, 2)
    assert after.best is not None
    assert math.isnan(after.best["loss"])
    judge = Validation.__new__(Validation)
    judge.selection, judge.mode = "loss", "min"
    # The next comparison finds anything better.
    assert judge.rank({"loss": 9.0}) > judge.rank(after.best)
