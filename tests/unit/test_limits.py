import json
from pathlib import Path
from typing import Any

import pytest

from hpsearch.exceptions import InvalidLimits, InvalidValue
from hpsearch.objectives.limits import (
    A1_JOINTS,
    ANYMAL_JOINTS,
    check_name,
    is_plain,
    load_limits,
)

JOINTS = ("hip", "thigh", "calf")


def written(folder: Path, content: Any) -> str:
    path = folder / "limits.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_the_a1_set_is_the_published_one() -> None:
    limits = load_limits("a1", A1_JOINTS, default="none")
    assert limits is not None
    assert limits.low == (-2.0, -0.4, -2.6, -1.3, -2.2, -1.9, -0.7, -0.4, -2.1, -2.4, -2.5, -1.7)
    assert limits.high == (1.1, 2.6, 0.7, 1.9, 1.3, 2.6, 3.4, 3.8, 3.4, 3.4, 1.9, 2.1)


def test_the_rough_set_is_a_quarter_wider() -> None:
    flat, rough = (load_limits(name, A1_JOINTS, default="none") for name in ("a1", "a1-rough"))
    assert flat is not None and rough is not None
    assert rough.low == pytest.approx([1.25 * value for value in flat.low])
    assert rough.high == pytest.approx([1.25 * value for value in flat.high])


def test_the_anymal_set_is_a_quarter_wider_than_its_percentiles() -> None:
    limits = load_limits("anymal", ANYMAL_JOINTS, default="none")
    assert limits is not None
    assert (limits.low[0], limits.high[-1]) == (-1.625, 2.875)


def test_the_sets_of_the_go_robots_are_those_of_the_a1() -> None:
    for name in ("a1", "a1-rough"):
        mine, theirs = (
            load_limits(each, A1_JOINTS, default="none")
            for each in (name, name.replace("a1", "go"))
        )
        assert mine is not None and theirs is not None
        assert (mine.low, mine.high) == (theirs.low, theirs.high)


@pytest.mark.parametrize("bounds", ["a1", "none", "0.5", "limits.json", "folder/mine"])
def test_sets_numbers_and_files_need_no_database(bounds: str) -> None:
    assert is_plain(bounds)
    assert not is_plain("quadruped-walk-p2.5") and not is_plain("auto")


def test_without_a_name_the_tasks_default_holds() -> None:
    limits = load_limits(None, A1_JOINTS, default="a1")
    assert limits is not None and limits.name == "a1"


def test_none_leaves_the_tasks_own_bounds() -> None:
    assert load_limits("none", A1_JOINTS, default="a1") is None


def test_a_number_gives_that_range_to_every_joint() -> None:
    limits = load_limits("1.5", JOINTS, default="none")
    assert limits is not None
    assert (limits.low, limits.high) == ((-1.5, -1.5, -1.5), (1.5, 1.5, 1.5))


def test_a_number_on_unknown_joints_gives_one_pair_for_all() -> None:
    limits = load_limits("1", (), default="none")
    assert limits is not None
    assert (limits.low, limits.high) == ((-1.0,), (1.0,))


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf"])
def test_a_number_that_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidLimits, match="above 0"):
        load_limits(text, JOINTS, default="none")


def test_a_file_gives_low_and_high(tmp_path: Path) -> None:
    path = written(tmp_path, {"low": [-1, -2, -3], "high": [1, 2.5, 3], "joints": JOINTS})
    limits = load_limits(path, JOINTS, default="none")
    assert limits is not None
    assert (limits.low, limits.high) == ((-1.0, -2.0, -3.0), (1.0, 2.5, 3.0))


def test_a_set_of_the_wrong_length_names_the_joints() -> None:
    with pytest.raises(InvalidLimits, match=r"12 pairs for 3 joints \(hip, thigh, calf\)"):
        load_limits("a1", JOINTS, default="none")


def test_another_joint_order_is_refused() -> None:
    by_leg = sorted(A1_JOINTS)
    with pytest.raises(InvalidLimits, match="joint 0 is FL_hip_joint there and FL_calf_joint"):
        load_limits("a1", by_leg, default="none")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"low": [1, -1, -1], "high": [1, 1, 1]}, "joint hip has low 1.0 not below high 1.0"),
        ({"low": [-1, -1, -1], "high": [1, 1, float("inf")]}, "joint calf .* not finite"),
        ({"low": [-1, -1], "high": [1, 1, 1]}, "2 low and 3 high"),
        ({"low": [-1, -1], "high": [1, 1]}, "2 pairs for 3 joints"),
        ({"low": [-1, -1, -1]}, '"low" and "high"'),
        ({"low": "abc", "high": [1, 1, 1]}, "list of numbers"),
        ({"low": [True, -1, -1], "high": [1, 1, 1]}, "list of numbers"),
        ({"low": [-1] * 3, "high": [1] * 3, "joints": ["hip"]}, "1 joints but 3"),
        ({"low": [-1] * 3, "high": [1] * 3, "joints": ["hip", "calf", "thigh"]}, "joint 1 is"),
        ("not json", "cannot be read as JSON"),
        ([1, 2], '"low" and "high"'),
    ],
)
def test_a_bad_file_is_refused_with_its_problem(
    tmp_path: Path, content: Any, problem: str
) -> None:
    with pytest.raises(InvalidLimits, match=problem):
        load_limits(written(tmp_path, content), JOINTS, default="none")


def test_an_unknown_name_lists_the_built_in_sets() -> None:
    with pytest.raises(
        InvalidLimits, match=r"no such set.*a1, a1-rough, go, go-rough, anymal-narrow, anymal"
    ):
        load_limits("a2", JOINTS, default="none")


def test_limits_of_another_robot_are_refused_with_both_ones_joints() -> None:
    with pytest.raises(InvalidLimits, match=r"joints LF_HAA, .*the task has FL_hip_joint, .*file"):
        load_limits("anymal", A1_JOINTS, default="none")


@pytest.mark.parametrize("task", ["quadruped-walk", "quadruped-velocity"])
def test_the_embedded_robot_spells_the_same_joints_shorter(task: str) -> None:
    from hpsearch.plugins import load_task

    names = load_task(task, {}).action_names
    limits = load_limits("a1", names, default="none")
    assert limits is not None and limits.joints == A1_JOINTS
    with pytest.raises(InvalidLimits, match="LF_HAA"):
        load_limits("anymal", names, default="none")


def test_a_file_without_joints_is_taken_for_any_robot(tmp_path: Path) -> None:
    path = written(tmp_path, {"low": [-1] * 12, "high": [1] * 12})
    limits = load_limits(path, A1_JOINTS, default="none")
    assert limits is not None and limits.joints == ()


@pytest.mark.parametrize(
    "content",
    ['{"low": [' + "1" * 400 + '], "high": [1]}', "[" * 100_000, '{"low": [], "high": []}'],
)
def test_an_odd_file_is_refused_in_words(tmp_path: Path, content: str) -> None:
    with pytest.raises(InvalidLimits):
        load_limits(written(tmp_path, content), (), default="none")


@pytest.mark.parametrize("name", ["", " ", "auto", "none", "0.5", "a1", "my/limits", "x.json"])
def test_a_name_that_means_something_else_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue, match="name of its own"):
        check_name(name)
    check_name("mine-p2.5")
