"""Consoles: URLs as upstream gives them, and who is let in behind them."""

from __future__ import annotations

import asyncio
import datetime
import struct
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import pytest_asyncio
import sqlalchemy as sa

from cloudseed.kernel.db import utcnow
from cloudseed.nova import models
from cloudseed.nova.console import proxy
from tests.nova.api.cloud import Json, NovaCloud, message, nova
from tests.nova.console_viewer import Viewer
from tests.support.cloud import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")
VNC = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
GREETING = b"FAKE SERIAL CONSOLE of vm\r\n"
SERIAL = {"remote_console": {"protocol": "serial", "type": "serial"}}


@pytest_asyncio.fixture(loop_scope="module")
async def server(cloud: NovaCloud) -> AsyncIterator[Json]:
    """A server that runs, for one test: a project may have ten."""
    made = await cloud.boot(cloud.admin)
    yield made
    await nova(cloud.admin, "DELETE", f"/servers/{made['id']}")
    await cloud.wait_gone(cloud.admin, made["id"])


async def console_url(client: Client, server_id: str, body: dict[str, Any]) -> str:
    answer = await nova(client, "POST", f"/servers/{server_id}/remote-consoles", body)
    assert answer.status == 200, answer.body
    console = answer.json()["remote_console"]
    assert {"protocol": console["protocol"], "type": console["type"]} == body["remote_console"]
    url: str = console["url"]
    return url


def token_of(url: str) -> str:
    path = parse_qs(urlsplit(url).query)["path"][0]
    return parse_qs(urlsplit("/" + path).query)["token"][0]


async def test_the_screen_from_url_to_pixels(cloud: NovaCloud, server: Json) -> None:
    url = await console_url(cloud.admin, server["id"], VNC)
    assert urlsplit(url)[:3] == ("http", "127.0.0.1:8080", "/console/vnc_lite.html")
    page = await cloud.anonymous().get(urlsplit(url).path)
    assert page.status == 200 and b"noVNC" in page.body and b"</html>" in page.body and b"<script" in page.body
    checked = await cloud.anonymous().get("/console/check", params={"token": token_of(url)})
    assert checked.json() == {"server": {"id": server["id"], "name": "vm"}, "kind": "novnc"}
    async with Viewer(cloud.env.edge, url) as viewer:
        assert viewer.accepted and viewer.subprotocol == "binary"
        assert await viewer.read(12) == b"RFB 003.008\n"
        viewer.write(b"RFB 003.008\n")
        assert await viewer.read(2) == b"\x01\x01"
        viewer.write(b"\x01")
        assert await viewer.read(4) == bytes(4)
        viewer.write(b"\x01")
        width, height = struct.unpack(">HH", (await viewer.read(24 + len("vm")))[:4])
        viewer.write(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        assert len(await viewer.read(16 + 4 * width * height)) == 16 + 4 * width * height


async def test_the_serial_line_has_one_viewer_and_the_newest_wins(cloud: NovaCloud, server: Json) -> None:
    first_url, second_url = [await console_url(cloud.admin, server["id"], SERIAL) for _ in range(2)]
    assert urlsplit(first_url).path == "/console/serial.html"
    async with Viewer(cloud.env.edge, first_url) as first:
        assert await first.read(len(GREETING)) == GREETING
        first.write(b"hello")
        assert await first.read(5) == b"hello"
        async with Viewer(cloud.env.edge, second_url) as second:
            assert second.accepted and await first.wait_closed() == 4001
            second.write(b"mine")
            assert await second.read(len(GREETING) + 4) == GREETING + b"mine"


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:8081", "null", "https://evil.example:8080",
                                    "file://", "http://127.0.0.1:8080.evil.example"])
async def test_pages_of_others_are_refused(cloud: NovaCloud, server: Json, origin: str) -> None:
    url = await console_url(cloud.admin, server["id"], VNC)
    async with Viewer(cloud.env.edge, url, origin=origin) as viewer:
        assert not viewer.accepted
    checked = await cloud.anonymous().get("/console/check", params={"token": token_of(url)},
                                          headers={"origin": origin})
    assert checked.status == 403


@pytest.mark.parametrize(("origin", "host"), [(None, "127.0.0.1:8080"), ("http://tunnel:9", "tunnel:9")])
async def test_no_browser_and_a_tunnel_are_let_in(cloud: NovaCloud, server: Json, origin: str | None,
                                                  host: str) -> None:
    async with Viewer(cloud.env.edge, await console_url(cloud.admin, server["id"], VNC), origin=origin,
                      host=host) as viewer:
        assert viewer.accepted


@pytest.mark.parametrize("path", ["/console/websockify", "/console/websockify?token=", "/console/websockify?token=bad",
                                  "/console/", "/console", "/compute/v2.1/servers", "/nowhere", "/console/../x",
                                  "/console/websockify?token=" + "a" * 5000, "/console/websockify?" + "&" * 3000])
async def test_what_is_no_token_is_refused(cloud: NovaCloud, path: str) -> None:
    async with Viewer(cloud.env.edge, "", path=path) as viewer:
        assert not viewer.accepted


async def test_a_token_opens_once_at_a_time(cloud: NovaCloud, server: Json) -> None:
    url = await console_url(cloud.admin, server["id"], VNC)
    async with Viewer(cloud.env.edge, url) as owner, Viewer(cloud.env.edge, url) as thief:
        assert owner.accepted and not thief.accepted
        assert await owner.read(3) == b"RFB"
    async with Viewer(cloud.env.edge, url) as owner:  # the page was loaded again
        assert owner.accepted


async def test_a_token_ends_with_its_time(cloud: NovaCloud, server: Json) -> None:
    url = await console_url(cloud.admin, server["id"], VNC)
    async with cloud.service("nova").handle.db.write() as tx:
        left = await tx.scalar(sa.select(models.console_tokens.c.expires_at).where(
            models.console_tokens.c.server_id == server["id"]))
        assert datetime.timedelta(seconds=590) < left - utcnow() <= datetime.timedelta(seconds=600)
        await tx.execute(sa.update(models.console_tokens).values(expires_at=utcnow()))
    async with Viewer(cloud.env.edge, url) as viewer:
        assert not viewer.accepted
    assert (await cloud.anonymous().get("/console/check", params={"token": token_of(url)})).status == 404


async def test_a_token_and_its_viewer_end_with_the_machine(cloud: NovaCloud, server: Json) -> None:
    url, other = [await console_url(cloud.admin, server["id"], body) for body in (VNC, SERIAL)]
    async with Viewer(cloud.env.edge, url) as viewer:
        assert (await nova(cloud.admin, "POST", f"/servers/{server['id']}/action", {"os-stop": None})).status == 202
        assert await viewer.wait_closed() == 4002
    await cloud.wait_for(cloud.admin, server["id"], "SHUTOFF")
    refused = await nova(cloud.admin, "POST", f"/servers/{server['id']}/remote-consoles", VNC)
    assert refused.status == 409 and "not ready" in message(refused)
    assert (await nova(cloud.admin, "POST", f"/servers/{server['id']}/action", {"os-start": None})).status == 202
    await cloud.wait_for(cloud.admin, server["id"], "ACTIVE")
    for old in (url, other):
        async with Viewer(cloud.env.edge, old) as viewer:
            assert not viewer.accepted


async def test_a_token_ends_with_a_machine_that_went_off_by_itself(cloud: NovaCloud, server: Json) -> None:
    url = await console_url(cloud.admin, server["id"], SERIAL)
    cloud.service("nova-compute").handle[0].driver.end(server["id"], "guest-shutdown")
    await cloud.wait_for(cloud.admin, server["id"], "SHUTOFF")
    async with Viewer(cloud.env.edge, url) as viewer:
        assert not viewer.accepted
    assert (await cloud.anonymous().get("/console/check", params={"token": token_of(url)})).status == 404


async def test_a_token_and_its_viewer_end_with_the_server(cloud: NovaCloud, server: Json) -> None:
    url, unused = [await console_url(cloud.admin, server["id"], body) for body in (VNC, SERIAL)]
    async with Viewer(cloud.env.edge, url) as viewer:
        assert (await nova(cloud.admin, "DELETE", f"/servers/{server['id']}")).status == 204
        assert await viewer.wait_closed() == 4002
    for old in (url, unused):
        async with Viewer(cloud.env.edge, old) as viewer:
            assert not viewer.accepted
    async with cloud.service("nova").handle.db.read() as tx:
        assert not await tx.all(sa.select(models.console_tokens).where(
            models.console_tokens.c.server_id == server["id"]))


async def test_a_restart_of_the_machine_keeps_the_url(cloud: NovaCloud, server: Json) -> None:
    url = await console_url(cloud.admin, server["id"], VNC)
    assert (await nova(cloud.admin, "POST", f"/servers/{server['id']}/action",
                       {"reboot": {"type": "HARD"}})).status == 202
    await cloud.wait_for(cloud.admin, server["id"], "ACTIVE")
    async with Viewer(cloud.env.edge, url) as viewer:
        assert viewer.accepted


async def test_the_database_holds_no_token(cloud: NovaCloud, server: Json) -> None:
    token = token_of(await console_url(cloud.admin, server["id"], VNC))
    async with cloud.service("nova").handle.db.read() as tx:
        rows = await tx.all(sa.select(models.console_tokens))
    assert rows and token not in str(rows)


async def test_viewers_and_tokens_are_limited(cloud: NovaCloud, server: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [await console_url(cloud.admin, server["id"], VNC) for _ in range(40)]
    async with cloud.service("nova").handle.db.read() as tx:
        kept = await tx.all(sa.select(models.console_tokens).where(
            models.console_tokens.c.server_id == server["id"]))
    assert len(kept) == 32
    monkeypatch.setattr(proxy, "MAX_SCREENS", 1)
    async with Viewer(cloud.env.edge, urls[-1]) as first, Viewer(cloud.env.edge, urls[-2]) as second:
        assert first.accepted and not second.accepted
    async with Viewer(cloud.env.edge, urls[0]) as oldest:
        assert not oldest.accepted


async def test_a_viewer_that_does_not_read_makes_the_machine_wait(cloud: NovaCloud, server: Json) -> None:
    async with Viewer(cloud.env.edge, await console_url(cloud.admin, server["id"], SERIAL)) as viewer:
        for _ in range(64):
            viewer.write(b"x" * 65536)  # comes back from the echo, 4 MiB that nobody reads
        await asyncio.sleep(0.3)
        # what is not carried yet waits on the sender's side, where the socket's window stops it
        assert viewer._in.qsize() > 32
    async with Viewer(cloud.env.edge, await console_url(cloud.admin, server["id"], SERIAL)) as viewer:
        assert viewer.accepted


async def test_foreign_projects_and_readers_get_no_url(cloud: NovaCloud, server: Json) -> None:
    stranger = await cloud.new_project("console-stranger")
    assert (await nova(stranger, "POST", f"/servers/{server['id']}/remote-consoles", VNC)).status == 404
    reader = await cloud.new_project("console-reader", ("reader",))
    token = token_of(await console_url(cloud.admin, server["id"], VNC))
    assert (await nova(reader, "GET", f"/os-console-auth-tokens/{token}")).status == 403


async def test_refusals_are_upstreams(cloud: NovaCloud, server: Json) -> None:
    path = f"/servers/{server['id']}/remote-consoles"
    for protocol, kind in (("spice", "spice-html5"), ("mks", "webmks"), ("rdp", "rdp-html5")):
        refused = await nova(cloud.admin, "POST", path, {"remote_console": {"protocol": protocol, "type": kind}})
        assert refused.status == 400 and message(refused) == f"Unavailable console type {kind}."
    wrong = await nova(cloud.admin, "POST", path, {"remote_console": {"protocol": "vnc", "type": "serial"}})
    assert wrong.status == 400 and message(wrong) == "Invalid console type serial"
    for body in ({}, {"remote_console": None}, {"remote_console": {"protocol": "vnc"}},
                 {"remote_console": {"protocol": "x", "type": "novnc"}},
                 {"remote_console": {"protocol": "vnc", "type": "novnc", "more": 1}}):
        assert (await nova(cloud.admin, "POST", path, body)).status == 400
    assert (await nova(cloud.admin, "POST", path, VNC, "2.5")).status == 404
    assert (await nova(cloud.admin, "POST", path, {"remote_console": {"protocol": "mks", "type": "webmks"}},
                       "2.7")).status == 400


async def test_the_old_actions(cloud: NovaCloud, server: Json) -> None:
    path = f"/servers/{server['id']}/action"
    for name, kind in (("os-getVNCConsole", "novnc"), ("os-getSerialConsole", "serial")):
        answer = await nova(cloud.admin, "POST", path, {name: {"type": kind}}, "2.1")
        assert answer.status == 200 and answer.json()["console"]["type"] == kind
        async with Viewer(cloud.env.edge, answer.json()["console"]["url"]) as viewer:
            assert viewer.accepted
        assert (await nova(cloud.admin, "POST", path, {name: {"type": kind}}, "2.6")).status == 404
        assert (await nova(cloud.admin, "POST", path, {name: {"type": "x"}}, "2.1")).status == 400
        assert (await nova(cloud.admin, "POST", path, {name: None}, "2.1")).status == 400
    refused = await nova(cloud.admin, "POST", path, {"os-getVNCConsole": {"type": "xvpvnc"}}, "2.1")
    assert refused.status == 400 and message(refused) == "Invalid console type xvpvnc"
    refused = await nova(cloud.admin, "POST", path, {"os-getSPICEConsole": {"type": "spice-html5"}}, "2.1")
    assert refused.status == 400 and message(refused) == "Unavailable console type spice-html5."


async def test_what_a_token_opens(cloud: NovaCloud, server: Json) -> None:
    token = token_of(await console_url(cloud.admin, server["id"], VNC))
    shown = await nova(cloud.admin, "GET", f"/os-console-auth-tokens/{token}", version="2.99")
    assert shown.status == 200 and shown.json()["console"]["instance_uuid"] == server["id"]
    assert set(shown.json()["console"]) == {"instance_uuid", "host", "port", "internal_access_path"}
    assert (await nova(cloud.admin, "GET", "/os-console-auth-tokens/bad", version="2.31")).status == 404
    assert (await nova(cloud.admin, "GET", f"/os-console-auth-tokens/{token}", version="2.30")).status == 400


@pytest.mark.parametrize("path", ["../nova/service.py", "novnc/../../../../etc/passwd", "static/../pages.py",
                                  "static/%2e%2e/pages.py", "novnc//etc/passwd", "static/", "xterm/", "static/.",
                                  "pages.py", "static/console.html", "novnc/" + "../" * 20 + "etc/passwd"])
async def test_no_path_leads_out(cloud: NovaCloud, path: str) -> None:
    for written in (path, quote(path)):
        answer = await cloud.anonymous().get(f"/console/{written}")
        assert answer.status == 404, answer.body


async def test_pages_let_the_browser_run_nothing_else(cloud: NovaCloud) -> None:
    for name, kind in (("vnc_lite.html", "text/html"), ("serial.html", "text/html"),
                       ("static/vnc.js", "text/javascript"), ("static/console.css", "text/css")):
        answer = await cloud.anonymous().get(f"/console/{name}")
        assert answer.status == 200 and answer.headers["content-type"].startswith(kind)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        if name.endswith(".html"):
            assert b"onclick" not in answer.body and b"style=" not in answer.body
