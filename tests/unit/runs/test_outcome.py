"""How a run ended, and what follows from it: one owner of the words."""

import pytest

from sweeps.runs.outcome import Outcome

STATUS = {"failed": "FAILED", "interrupted": "KILLED", "running": "RUNNING"}


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_status_of_mlflows_and_reads_as_its_word(outcome: Outcome) -> None:
    assert outcome.status == STATUS.get(outcome, "FINISHED")
    assert f"{outcome}" == outcome.value == str(outcome)
    assert Outcome.said(outcome.value) is outcome
    assert not (outcome.is_whole and outcome.resumes)
    assert outcome.is_well or not outcome.is_whole


def test_a_word_that_is_none_of_ours_is_no_good_end() -> None:
    assert Outcome.said("unknown") is Outcome.FAILED
    assert Outcome.of_status("FINISHED") is Outcome.FINISHED
    assert Outcome.of_status("KILLED") is Outcome.INTERRUPTED
    assert Outcome.of_status("SCHEDULED") is Outcome.FAILED
