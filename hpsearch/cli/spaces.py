"""`hpsearch spaces`: what can be searched."""

from __future__ import annotations

from optuna.distributions import BaseDistribution

from hpsearch import plugins
from hpsearch.base import SearchSpace
from hpsearch.cli.options import out
from hpsearch.exceptions import NotLoadable


def command() -> None:
    """Lists the search spaces known by name, each with its parameters and their ranges."""
    for name in plugins.names("space"):
        try:
            space: SearchSpace = plugins.load("space", name)
        except NotLoadable as error:
            out.print(f"{name}: {error.fields['problem']}")
            continue
        out.print(name, style="bold")
        for parameter, distribution in space.distributions.items():
            out.print(f"  {parameter:<30}{_range(distribution)}")
        for parameter, value in getattr(space, "fixed", {}).items():
            out.print(f"  {parameter:<30}{value}", style="dim")


def _range(distribution: BaseDistribution) -> str:
    low, high = getattr(distribution, "low", "?"), getattr(distribution, "high", "?")
    kind = "integer" if "Int" in type(distribution).__name__ else "real"
    log = ", log" if getattr(distribution, "log", False) else ""
    return f"{low:g} to {high:g}, {kind}{log}"
