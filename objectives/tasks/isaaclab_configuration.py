"""The configuration of a task of Isaac Lab 3: how the task runs here, or why it does not.

Imported where Isaac Lab is: in a run, and where its tasks are listed. Nothing is simulated.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium

from hpsearch.exceptions import UnsupportedTask
from hpsearch.objectives.spaces import check_spaces

PHYSICS = ("physics=", "env.sim.physics=", "env.sim.physics.")
"""How an override begins that chooses the physics."""

OTHER_PHYSICS = ("physics=isaacsim_physx", "physics=newton_mjwarp")
"""What simulates where the task's own choice is not installed: the first that is."""


def why_not() -> Mapping[str, str]:
    """Returns why each of Isaac Lab's tasks cannot be trained on here; empty where it can."""
    import isaaclab_tasks  # noqa: F401  registers them

    theirs = sorted(name for name in gymnasium.registry if name.startswith("Isaac"))
    return {name: _why_not(name) for name in theirs}


def _why_not(task_id: str) -> str:
    try:
        configuration(task_id)
    except UnsupportedTask as error:
        return str(error.fields["problem"])
    except Exception as error:  # whatever the task's module does when it is imported
        return f"{type(error).__name__}: {error}"
    return ""


def configuration(
    task_id: str,
    overrides: Sequence[str] = (),
    *,
    device: str | None = None,
    num_envs: int | None = None,
) -> Any:
    """Returns the configuration of a task with a physics that is installed.

    Args:
      task_id: as it is registered.
      overrides: in Isaac Lab's own spelling.
      device: that simulates; None for the task's choice.
      num_envs: environments; None for the task's choice.

    Raises:
      UnsupportedTask: it cannot be trained on, it needs what is not installed, or an override is
        of nothing.
    """
    from isaaclab_tasks.utils import parse_env_cfg

    try:
        overrides = [*overrides, *_other_physics(task_id, overrides)]
        cfg = parse_env_cfg(task_id, device=device, num_envs=num_envs, overrides=overrides)
        lacking = _lacking(cfg)
    except (ValueError, AttributeError, KeyError) as error:
        raise UnsupportedTask(name=task_id, problem=str(error)) from error
    except ImportError as error:
        # Isaac Lab's own explanations go on for several sentences.
        problem = f"its module cannot be imported: {str(error).partition('. ')[0]}"
        raise UnsupportedTask(name=task_id, problem=problem) from error
    _check_overrides(task_id, overrides)
    _check_trainable(task_id, cfg)
    if lacking:
        raise UnsupportedTask(name=task_id, problem=lacking)
    return cfg


def _other_physics(task_id: str, overrides: Sequence[str]) -> list[str]:
    """Returns an override by which a task lacks nothing; none if it need not, or cannot be."""
    from isaaclab_tasks.utils import parse_env_cfg

    asked_for = any(each.startswith(PHYSICS) for each in overrides)
    if asked_for or not _lacking(parse_env_cfg(task_id, overrides=overrides)):
        return []
    for other in OTHER_PHYSICS:
        with contextlib.suppress(ValueError):  # the task does not offer it
            if not _lacking(parse_env_cfg(task_id, overrides=[*overrides, other])):
                return [other]
    return []


def _lacking(cfg: Any) -> str:
    """Returns what a configuration needs that is not installed; empty if nothing.

    What the configuration leaves to the launch to choose is chosen in it.
    """
    from isaaclab.app import validate_launch

    scan, needs_kit = validate_launch(cfg, {"headless": True})
    needs = [
        ("isaacsim", bool(needs_kit), f"Isaac Sim, for {' and '.join(needs_kit)}"),
        ("ovphysx", scan.has_ovphysx_physics, "ovphysx"),
        ("ovrtx", scan.has_ovrtx, "ovrtx"),
    ]
    lacking = [
        what for package, needed, what in needs
        if needed and importlib.util.find_spec(package) is None
    ]  # fmt: skip
    return f"needs {', '.join(lacking)}" if lacking else ""


def _check_trainable(task_id: str, cfg: Any) -> None:
    """Refuses a task in which one agent cannot learn, as far as its configuration tells."""
    from isaaclab.envs.utils.spaces import spec_to_gym_space

    if hasattr(cfg, "possible_agents"):
        raise UnsupportedTask(name=task_id, problem="it has several agents")
    if getattr(cfg, "rewards", cfg) is None:
        raise UnsupportedTask(name=task_id, problem="it declares no rewards")
    # What managers put together is seen when they open.
    if hasattr(cfg, "action_space") and hasattr(cfg, "observation_space"):
        observations, actions = map(spec_to_gym_space, (cfg.observation_space, cfg.action_space))
        check_spaces(task_id, observations, actions)


def _check_overrides(task_id: str, overrides: Sequence[str]) -> None:
    """Refuses an override of what the configuration does not have: Isaac Lab would add it.

    Each is looked for in the configuration that the others make, for they may choose its shape.
    """
    from isaaclab_tasks.utils import parse_env_cfg

    for override in overrides:
        path, _, _ = override.partition("=")
        if not path.startswith("env."):
            continue
        others = [each for each in overrides if each is not override]
        try:
            found: Any = parse_env_cfg(task_id, overrides=others)
        except (ValueError, AttributeError, KeyError):
            continue  # they need this one
        for name in path.split(".")[1:]:
            names = list(found) if isinstance(found, Mapping) else dir(found)
            if name not in names:
                near = ", ".join(difflib.get_close_matches(name, names)) or "nothing like it"
                problem = f"its configuration has no {path}; it has {near}"
                raise UnsupportedTask(name=task_id, problem=problem)
            found = found[name] if isinstance(found, Mapping) else getattr(found, name)
