"""The dashboard over real HTTP: everything can be read, nothing can be written."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hpsearch.dashboard.server import make_server
from hpsearch.exceptions import PortTaken
from hpsearch.study import Study
from tests.integration.conftest import scalar

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def port(study: Study) -> Iterator[int]:
    with make_server(study.database, port=0) as (server, port):
        thread = threading.Thread(target=server.run)
        thread.start()
        yield port
        server.stop()
        thread.join()


def ask(
    port: int, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    body = "{}" if method != "GET" else None
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read()


def test_the_studies_are_served(port: int) -> None:
    status, _, body = ask(port, "GET", "/api/studies")
    assert status == 200
    assert json.loads(body)["study_summaries"][0]["study_name"] == "s"


def test_the_page_and_its_script_are_served_even_without_accept_encoding(port: int) -> None:
    status, _, body = ask(port, "GET", "/dashboard/")
    assert status == 200 and b"<html" in body.lower()
    status, _, body = ask(port, "GET", "/static/bundle.js")
    assert status == 200 and len(body) > 100_000


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/studies"),
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies/1/rename"),
        ("PUT", "/api/studies/1/note"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/trials/1/user-attrs"),
        ("PATCH", "/api/studies/1"),
        ("OPTIONS", "/api/studies"),
        ("BREW", "/api/studies"),
    ],
)
def test_every_writing_method_is_refused(port: int, study: Study, method: str, path: str) -> None:
    status, headers, body = ask(port, method, path)
    assert status == 405 and headers["allow"] == "GET, HEAD"
    assert b"read-only" in body
    assert scalar(study, "SELECT count(*) FROM studies") == 1


def test_another_host_name_is_refused(port: int) -> None:
    assert ask(port, "GET", "/api/studies", {"Host": "evil.example"})[0] == 400
    assert ask(port, "GET", "/api/studies", {"Host": f"localhost:{port}"})[0] == 200


def test_no_other_site_may_read_or_frame_it(port: int) -> None:
    _, headers, _ = ask(port, "GET", "/api/studies", {"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in headers
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_port_that_is_taken_is_named(port: int, study: Study) -> None:
    with (
        pytest.raises(PortTaken, match=str(port)),
        make_server(study.database, port=port),
    ):
        pass


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")
def test_a_browser_shows_the_study(port: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--disable-quic", f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000"),
            *("--dump-dom", f"http://127.0.0.1:{port}/dashboard/"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert re.search(r">\d+\. s<", done.stdout), done.stderr[-2000:]
    assert "/dashboard/studies/1" in done.stdout
