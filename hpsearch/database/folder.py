"""The embedded server's folder: its layout, its locks, and the record of where it runs."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import sqlalchemy as sa

from hpsearch.exceptions import EmbeddedBusy, NetworkFilesystem, UnusableFolder

DATABASE = "hpsearch"
"""Name of the database, and of the one user."""

_BUSY_SECONDS = 180.0

_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\w*|lustre|gpfs|beegfs\w*|ceph|afs|9p|virtiofs|wekafs|panfs|pvfs2|orangefs"
    r"|glusterfs|ocfs2|gfs2?|davfs|ncpfs|vboxsf|vmhgfs|prl_fs"
    r"|fuse\.(sshfs|s3fs|rclone|gluster\w*|ceph\w*|gcsfuse|juicefs|grpcfuse|osxfs|vmhgfs.*|goofys"
    r"|mfs|moosefs|lizardfs|beegfs|davfs\d?|blobfuse\d?)"
)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Where the server was last started, and what it serves.

    Attributes:
      host: name of the machine or container.
      boot_id: of its kernel; a new one after each boot.
      pid_namespace: tells containers of one kernel apart.
      port: TCP port, kept over restarts.
      listen: address (with /BITS of the clients' network) beyond this host; None for none.
      started_at: local time, ISO 8601.
      stopped: whether it was stopped on purpose.
    """

    host: str
    boot_id: str
    pid_namespace: str
    port: int
    listen: str | None = None
    started_at: str
    stopped: bool = False

    @classmethod
    def of_here(cls, port: int, listen: str | None) -> Record:
        """Returns the record of a server started here and now."""
        started_at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        return cls(**_here(), port=port, listen=listen, started_at=started_at)

    @property
    def is_of_here(self) -> bool:
        """Whether it was started in this boot of this machine, or in this very container."""
        return all(getattr(self, name) == value for name, value in _here().items())

    @property
    def may_live_elsewhere(self) -> bool:
        """Whether its server may run under a kernel whose locks we cannot see."""
        here = _here()
        return not self.stopped and self.boot_id != here["boot_id"] and self.host != here["host"]

    @property
    def place(self) -> str:
        """Where it was started, in words."""
        return self.host if self.host != _here()["host"] else f"{self.host} (another container)"


class _Place(TypedDict):
    host: str
    boot_id: str
    pid_namespace: str


def _here() -> _Place:
    return {
        "host": socket.gethostname(),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pid_namespace": os.readlink("/proc/self/ns/pid"),
    }


@dataclass(frozen=True)
class Folder:
    """The files of one embedded server; `path` is ours, the account owns what it writes."""

    path: Path

    @property
    def cluster(self) -> Path:
        """The server's data; owned by the server's account."""
        return self.path / "cluster"

    @property
    def logs(self) -> Path:
        """A week of logs; owned by the server's account."""
        return self.path / "logs"

    @property
    def config(self) -> Path:
        """The server's configuration, written before each start."""
        return self.path / "postgresql.conf"

    @property
    def hba(self) -> Path:
        """Who may connect from where, written before each start."""
        return self.path / "pg_hba.conf"

    @property
    def access(self) -> Path:
        """What other hosts need: the URL and the certificate."""
        return self.path / "access"

    @property
    def password(self) -> Path:
        """The password of the one user; readable by us only."""
        return self.path / "password"

    def write(self, path: Path, text: str, mode: int = 0o644) -> None:
        """Writes a file of ours in one step: whoever reads it sees all of it or the old one."""
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)

    @property
    def record(self) -> Record | None:
        """The record; None before the first start."""
        try:
            return Record(**json.loads((self.path / "server.json").read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            problem = f"{self.path / 'server.json'} was damaged; remove it if no server runs"
            raise UnusableFolder(folder=self.path, problem=problem) from None

    def keep(self, record: Record) -> None:
        """Stores the record."""
        self.write(self.path / "server.json", json.dumps(dataclasses.asdict(record), indent=2))

    def url(self, record: Record) -> sa.URL:
        """Returns the URL of the server that the record tells of, for this host."""
        try:
            password = self.password.read_text()
        except OSError as error:
            problem = f"{self.password} cannot be read ({error.strerror})"
            raise UnusableFolder(folder=self.path, problem=problem) from None
        return sa.URL.create(
            "postgresql+psycopg2",
            username=DATABASE,
            password=password,
            host="127.0.0.1",
            port=record.port,
            database=DATABASE,
        )

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Lets one process at a time change anything here; yields the lock's descriptor.

        Raises:
          EmbeddedBusy: another process does not come to an end.
        """
        path = self.path / "change.lock"
        deadline = time.monotonic() + _BUSY_SECONDS
        with _opened(path) as descriptor:
            while not _locked(descriptor):
                if time.monotonic() > deadline:
                    raise EmbeddedBusy(folder=self.path, seconds=_BUSY_SECONDS, lock=path)
                time.sleep(0.02)
            yield descriptor

    @contextmanager
    def life(self) -> Iterator[int | None]:
        """Yields the descriptor of the lock that the server holds while it lives, or None.

        The server and all its processes inherit it, so the lock is free when the last of them
        has ended, however it ended, and every container on this kernel sees it. None: a server
        lives. Ask only while `lock` is held.
        """
        with _opened(self.path / "life.lock") as descriptor:
            yield descriptor if _locked(descriptor) else None

    @property
    def is_alive(self) -> bool:
        """Whether a server lives, in this or another container of this kernel."""
        with self.life() as descriptor:
            return descriptor is None


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    # For us only: whoever can open a lock can take it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def filesystem_of(path: Path) -> str:
    """Returns the type of the filesystem that holds the path, e.g. `ext4` or `nfs4`."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    path = path.resolve()
    best, kind = Path(), ""
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        mount = Path(re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), left.split()[4]))
        if path.is_relative_to(mount) and len(mount.parts) >= len(best.parts):
            best, kind = mount, right.split()[0]
    return kind


def open_folder(data_dir: Path, filesystem: Callable[[Path], str] = filesystem_of) -> Folder:
    """Returns the embedded server's folder inside `data_dir`, made if it is missing.

    Raises:
      NetworkFilesystem: it would lie on another machine.
      UnusableFolder: it cannot be made or written.
    """
    kind = filesystem(data_dir)
    if _NETWORK.fullmatch(kind):
        suggestion = f"/var/tmp/hpsearch-{os.getuid()}"
        raise NetworkFilesystem(folder=data_dir, kind=kind, suggestion=suggestion)
    path = data_dir.absolute() / "postgres"
    try:
        _make(path)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(0, "this user may not write there")
    except OSError as error:
        raise UnusableFolder(folder=data_dir, problem=error.strerror) from None
    return Folder(path)


def _make(path: Path) -> None:
    """Makes the folder and its parents: for us alone, or as root to be passed through."""
    if path.exists():
        return
    if not path.parent.exists():
        _make(path.parent)
    path.mkdir(exist_ok=True)
    path.chmod(0o711 if os.geteuid() == 0 else 0o700)
