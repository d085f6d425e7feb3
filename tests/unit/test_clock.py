import pytest

from hpsearch.objectives.clock import BudgetClock


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


def test_nothing_is_counted_before_the_start(hand: HandClock) -> None:
    clock = BudgetClock(10.0, clock=hand)
    hand.now += 50.0
    assert (clock.spent, clock.remaining, clock.running) == (0.0, 10.0, False)


def test_only_running_time_is_counted(hand: HandClock) -> None:
    clock = BudgetClock(10.0, clock=hand)
    clock.start()
    hand.now += 3.0
    with clock.paused():
        hand.now += 40.0
    hand.now += 1.0
    clock.pause()
    hand.now += 40.0
    assert (clock.spent, clock.remaining) == (4.0, 6.0)


def test_a_second_start_or_pause_changes_nothing(hand: HandClock) -> None:
    clock = BudgetClock(10.0, clock=hand)
    clock.start()
    hand.now += 2.0
    clock.start()
    hand.now += 2.0
    clock.pause()
    clock.pause()
    assert clock.spent == 4.0


def test_a_paused_block_leaves_a_paused_clock_paused(hand: HandClock) -> None:
    clock = BudgetClock(10.0, clock=hand)
    with clock.paused():
        pass
    assert not clock.running


def test_it_runs_again_after_a_paused_block_that_raised(hand: HandClock) -> None:
    clock = BudgetClock(10.0, clock=hand)
    clock.start()
    with pytest.raises(RuntimeError), clock.paused():
        raise RuntimeError
    assert clock.running


def test_the_budget_is_exhausted_at_its_end_and_the_rest_is_overshoot(hand: HandClock) -> None:
    clock = BudgetClock(10.0, clock=hand)
    clock.start()
    hand.now += 9.5
    assert (clock.exhausted, clock.overshoot) == (False, 0.0)
    hand.now += 0.5
    assert (clock.exhausted, clock.overshoot) == (True, 0.0)
    hand.now += 0.25
    assert (clock.remaining, clock.overshoot) == (0.0, 0.25)
