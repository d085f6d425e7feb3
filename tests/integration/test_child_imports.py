"""The child runs in the simulator's interpreter, which has nothing of what the service needs."""

import subprocess
import sys

IMPORT_ALL = """
import sys
for name in ("alembic", "cmaes", "optuna", "platformdirs", "psutil", "psycopg2", "pydantic",
             "sqlalchemy", "typer"):
    sys.modules[name] = None
import importlib, pkgutil
import hpsearch.objectives
for module in pkgutil.walk_packages(hpsearch.objectives.__path__, "hpsearch.objectives."):
    importlib.import_module(module.name)
"""

IMPORT_LIGHT = """
import sys
import hpsearch.base, hpsearch.exceptions, hpsearch.plugins
import hpsearch.objectives.limits, hpsearch.objectives.sphere, hpsearch.objectives.training
from hpsearch.plugins import load, load_task
load("objective", "training")
task = load_task("quadruped-walk", {})
task.default_budget
print(*{"jax", "torch", "mujoco", "stable_baselines3"} & set(sys.modules))
"""


def test_objectives_need_nothing_of_the_service() -> None:
    subprocess.run([sys.executable, "-c", IMPORT_ALL], check=True, timeout=120)


def test_a_tasks_defaults_are_read_without_a_simulator() -> None:
    command = [sys.executable, "-c", IMPORT_LIGHT]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout.split() == []
