import random

import pytest

from hpsearch.objectives.ledger import PHASES, Ledger

SECOND = 1_000_000_000


class HandClock:
    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


def test_time_outside_any_phase_is_idle(hand: HandClock) -> None:
    ledger = Ledger(clock=hand)
    hand.pass_seconds(2)
    with ledger.phase("env"):
        hand.pass_seconds(3)
    hand.pass_seconds(1)
    totals = ledger.totals()
    assert (totals["idle"], totals["env"]) == (3.0, 3.0)


def test_a_nested_phase_is_charged_alone(hand: HandClock) -> None:
    ledger = Ledger(clock=hand)
    with ledger.phase("env"):
        hand.pass_seconds(1)
        with ledger.phase("update"):
            hand.pass_seconds(4)
            with ledger.phase("save"):
                hand.pass_seconds(8)
            hand.pass_seconds(4)
        hand.pass_seconds(1)
    totals = ledger.totals()
    assert (totals["env"], totals["update"], totals["save"]) == (2.0, 8.0, 8.0)


def test_an_exception_returns_to_the_phase_around_it(hand: HandClock) -> None:
    ledger = Ledger(clock=hand)
    with ledger.phase("env"):
        with pytest.raises(RuntimeError), ledger.phase("update"):
            raise RuntimeError
        assert ledger.current == "env"
    assert ledger.current == "idle"


def test_totals_inside_a_phase_count_it_up_to_now(hand: HandClock) -> None:
    ledger = Ledger(clock=hand)
    with ledger.phase("start"):
        hand.pass_seconds(2)
        assert ledger.totals()["start"] == 2.0


def test_all_phases_are_listed_even_those_without_time(hand: HandClock) -> None:
    assert tuple(Ledger(clock=hand).totals()) == PHASES


def test_an_unknown_phase_is_refused(hand: HandClock) -> None:
    with pytest.raises(KeyError, match="lunch"), Ledger(clock=hand).phase("lunch"):
        pass


def test_totals_sum_to_the_elapsed_time_however_phases_nest(hand: HandClock) -> None:
    numbers = random.Random(0)
    ledger = Ledger(clock=hand)

    def wander(depth: int) -> None:
        for _ in range(numbers.randrange(4)):
            hand.now += numbers.randrange(10**9)
            with ledger.phase(numbers.choice(PHASES)):
                hand.now += numbers.randrange(10**9)
                if depth:
                    wander(depth - 1)

    for _ in range(20):
        wander(3)
    totals_ns = [round(seconds * SECOND) for seconds in ledger.totals().values()]
    assert sum(totals_ns) == hand.now - 5 * SECOND
    assert ledger.elapsed == (hand.now - 5 * SECOND) / SECOND
