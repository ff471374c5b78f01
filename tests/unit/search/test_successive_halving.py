"""Successive halving: who goes on, who waits, and that no budget is lost."""

from __future__ import annotations

import random

import pytest

from sweeps.search.successive_halving import SuccessiveHalving
from sweeps.search.trial import Trial

EPOCHS = 9


def trial(number: int, *scores: float, state: str = "pruned", group: str = "") -> Trial:
    reports = dict(enumerate(scores, 1))
    return Trial(number, {}, group=group, state=state, reports=reports, of=EPOCHS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("of", "factor", "first", "warmup", "rungs"),
    [
        (9, 3, 1, 0, [1, 3]),
        (27, 3, 1, 0, [1, 3, 9]),
        (10, 3, 1, 0, [1, 3]),
        (27, 3, 2, 0, [3, 9]),
        (27, 3, 1, 3, [9]),
        (16, 2, 1, 0, [1, 2, 4, 8]),
        (1, 3, 1, 0, []),
        (0, 3, 1, 0, []),
    ],
)
def test_rungs(of: int, factor: int, first: int, warmup: int, rungs: list[int]) -> None:
    halving = SuccessiveHalving(factor, first, wait=False)
    assert halving.rungs(Trial(0, {}, of=of, warmup=warmup)) == rungs


def test_the_best_third_goes_on_once_nothing_more_is_proposed() -> None:
    halving = SuccessiveHalving(3, 1, wait=False)
    trials = [trial(0, 0.5), trial(1, 0.4), trial(2, state="running")]
    assert halving.promote(trials, more=False) is None  # of two there is no third yet
    trials[2].reports[1] = 0.6
    assert halving.goes_on(trials, trials[2], more=False)
    fourth = trial(3, 0.1, state="running")
    assert not halving.goes_on([*trials, fourth], fourth, more=False)
    assert (fourth.rung, fourth.stopped) == (1, 1)
    assert fourth.reason == "rung 1, report 1 of 9: number 4 of 4 so far"


def test_while_more_are_proposed_the_best_of_the_first_three_goes_on() -> None:
    halving = SuccessiveHalving(3, 1, wait=False)
    trials = [trial(0, 0.1), trial(1, 0.3)]
    assert halving.promote(trials, more=True) is None
    trials.append(trial(2, 0.2))
    assert halving.promote(trials, more=True) is trials[1]


def papers_jobs(qualities: list[float], *, factor: int, rungs: int) -> list[tuple[int, int]]:
    """Algorithm 2 of arXiv:1810.05934 with one worker: each job as (trial, rung), until none is new."""
    at: list[list[int]] = [[] for _ in range(rungs + 1)]
    promoted: list[set[int]] = [set() for _ in range(rungs)]
    jobs: list[tuple[int, int]] = []
    new = iter(range(len(qualities)))
    while True:
        for rung in reversed(range(rungs)):
            top = sorted(at[rung], key=lambda n: -qualities[n])[: len(at[rung]) // factor]
            promotable = [number for number in top if number not in promoted[rung]]
            if promotable:
                promoted[rung].add(promotable[0])
                job = promotable[0], rung + 1
                break
        else:
            number = next(new, None)
            if number is None:
                return jobs
            job = number, 0
        jobs.append(job)
        at[job[1]].append(job[0])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("factor", "rungs"), [(2, 4), (3, 3), (4, 2)])
def test_asha_is_the_papers_algorithm(factor: int, rungs: int, seed: int) -> None:
    chance = random.Random(seed)
    qualities = [chance.random() for _ in range(60)]
    expected = papers_jobs(qualities, factor=factor, rungs=rungs)
    halving = SuccessiveHalving(factor, 1, wait=False)
    trials: list[Trial] = []
    jobs: list[tuple[int, int]] = []
    levels = [factor**rung for rung in range(rungs + 1)]
    while len(jobs) < len(expected):
        current = halving.promote(trials, more=True)
        if current is None:
            current = Trial(len(trials), {}, state="running", of=levels[-1])
            trials.append(current)
        goes_on = True
        while goes_on:  # a trial that goes on at once is a job of its own in the paper
            level = levels[sum(done in current.reports for done in levels)]
            current.state = "running"
            current.reports[level] = qualities[current.number]
            jobs.append((current.number, levels.index(level)))
            goes_on = level < levels[-1] and halving.goes_on(trials, current, more=True)
        current.state = "finished" if level == levels[-1] else "pruned"
    assert len(expected) >= 75
    assert jobs == expected


def test_a_trial_that_was_stopped_is_taken_up_when_it_turns_out_to_be_good() -> None:
    halving = SuccessiveHalving(3, 1, wait=False)
    trials = [trial(0, 0.6), trial(1, 0.4), trial(2, 0.5)]
    assert halving.promote(trials, more=False) is trials[0]
    trials[0].state = "running"
    assert halving.promote(trials, more=False) is None


def test_halving_waits_for_all_of_a_rung() -> None:
    halving = SuccessiveHalving(3, 1, wait=True)
    trials = [trial(0, 0.6), trial(1, 0.4), trial(2, state="running")]
    assert halving.promote(trials, more=False) is None
    trials[2] = trial(2, 0.5)
    assert halving.promote(trials, more=True) is None
    assert halving.promote(trials, more=False) is trials[0]


def test_a_small_rung_lets_its_best_go_on_once_nothing_more_comes() -> None:
    halving = SuccessiveHalving(3, 1, wait=False)
    trials = [trial(0, 0.6), trial(1, 0.7)]
    assert halving.promote(trials, more=True) is None
    assert halving.promote(trials, more=False) is trials[1]


def test_diverged_is_worst_and_counts() -> None:
    halving = SuccessiveHalving(3, 1, wait=True)
    trials = [trial(0, state="diverged"), trial(1, 0.1), trial(2, 0.9, state="diverged")]
    assert halving.promote(trials, more=False) is trials[1]
    assert halving.promote([trial(0, state="diverged")], more=False) is None


def test_a_failed_trial_takes_no_place_among_the_best() -> None:
    halving = SuccessiveHalving(3, 1, wait=True)
    trials = [trial(0, 0.9, state="failed"), trial(1, 0.1), trial(2, 0.5)]
    assert halving.promote(trials, more=False) is trials[2]


def test_a_trial_stopped_between_rungs_can_go_on() -> None:
    halving = SuccessiveHalving(3, 1, wait=True)
    trials = [trial(0, 0.5, 0.9), trial(1, 0.1), trial(2, 0.2)]  # another pruner stopped it at 2
    assert halving.promote(trials, more=False) is trials[0]


def test_each_group_is_judged_by_itself() -> None:
    halving = SuccessiveHalving(3, 1, wait=True)
    trials = [trial(n, 0.9 - n / 100, group="sgd") for n in range(3)]
    trials += [trial(n, 0.2 - n / 100, group="adam") for n in range(3, 6)]
    assert halving.promote(trials, more=False) is trials[0]
    trials[0].state = "running"
    assert halving.promote(trials, more=False) is trials[3]


def simulate(*, wait: bool, workers: int, seed: int) -> list[Trial]:
    """Trains 27 made-up trials to the end of the search."""
    chance = random.Random(seed)
    quality = [chance.random() for _ in range(27)]
    halving = SuccessiveHalving(3, 1, wait=wait)
    trials: list[Trial] = []
    running: list[Trial] = []
    while True:
        while len(running) < workers:
            more = len(trials) < len(quality)
            following = halving.promote(trials, more=more)
            if following is None and more:
                following = trial(len(trials))
                trials.append(following)
            if following is None:
                break
            following.state = "running"
            running.append(following)
        if not running:
            return trials
        current = running.pop(chance.randrange(len(running)))
        report = current.last + 1
        assert report <= EPOCHS
        current.reports[report] = quality[current.number] * (1 - 0.5 / report)
        if report == EPOCHS:
            current.state, current.score = "finished", current.reports[report]
        elif halving.goes_on(trials, current, more=len(trials) < len(quality)):
            running.append(current)
        else:
            current.state = "pruned"


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_search_ends_with_the_best_trained_whole(wait: bool, workers: int, seed: int) -> None:
    trials = simulate(wait=wait, workers=workers, seed=seed)
    assert len(trials) == 27
    whole = [t for t in trials if t.state == "finished"]
    best = max(trials, key=lambda t: t.best(1))
    assert best in whole
    epochs = sum(t.last for t in trials)
    if wait:
        assert len(whole) == 3
        assert epochs == 27 + 9 * 2 + 3 * 6
    else:
        assert epochs < 0.45 * 27 * EPOCHS
