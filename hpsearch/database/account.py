"""The account that the embedded server runs as: ours, or an unprivileged one if we are root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpsearch.exceptions import NoServerAccount

_UNPRIVILEGED = ("postgres", "nobody")

# Nothing else reaches the server: a PG* variable would change it, ours hold secrets.
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Account:
    """Who the server's processes run as.

    Attributes:
      name: of the user.
      uid: its number.
      gid: number of its group.
    """

    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        """Whether we run as this account ourselves."""
        return self.uid == os.geteuid()

    def run(
        self,
        *command: str | Path,
        text: str = "",
        inherit: Sequence[int] = (),
        timeout_seconds: float = 120.0,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, away from our terminal, folder and environment.

        Args:
          command: the program and its arguments.
          text: what it reads from stdin.
          inherit: file descriptors that stay open in it and in what it starts.
          timeout_seconds: after which it is killed.

        Raises:
          OSError: the program cannot be started by this account.
          subprocess.TimeoutExpired: it took longer.
        """
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        return subprocess.run(
            [str(word) for word in command],
            env=environment | {"LC_ALL": "C"},
            cwd="/",
            user=None if self.is_ours else self.uid,
            group=None if self.is_ours else self.gid,
            extra_groups=None if self.is_ours else [],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=inherit,
            start_new_session=True,
            timeout=timeout_seconds,
            check=False,
        )

    def can_enter(self, folder: Path) -> bool:
        """Returns whether this account may enter the folder."""
        return self.run("/bin/sh", "-c", 'cd -- "$1"', "sh", folder).returncode == 0

    def own(self, path: Path) -> None:
        """Gives a file or folder, which we made, to this account."""
        if not self.is_ours:
            os.chown(path, self.uid, self.gid)


def server_account(cluster: Path) -> Account:
    """Returns the account of the server.

    Args:
      cluster: folder of the server's data; if it exists, its owner is the account.

    Raises:
      NoServerAccount: we are root and may not become somebody else.
    """
    if os.geteuid() != 0:
        return Account(_name(os.geteuid()), os.geteuid(), os.getegid())
    account = _owner(cluster) if cluster.exists() else _existing()
    try:
        account.run("/bin/true")
    except (OSError, subprocess.SubprocessError) as error:
        raise NoServerAccount(
            problem=f"root cannot become {account.name} here ({error})"
        ) from None
    return account


def _owner(path: Path) -> Account:
    status = path.stat()
    return Account(_name(status.st_uid), status.st_uid, status.st_gid)


def _existing() -> Account:
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise NoServerAccount(problem=f"there is no user {' or '.join(_UNPRIVILEGED)} to run it as")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
