"""A real guest's screen and serial line in a real browser."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cloudseed.cli import openstack
from cloudseed.guest_images.tiny import build_tiny
from tests.faults.scene import COMPUTE, Scene
from tests.support.browser import Browser, Page, needs_chromium
from tests.support.daemon import Daemon, needs_root, wait_for

pytestmark = [pytest.mark.real, needs_root, needs_chromium]
# pictures stay here when a person wants to see them
PICTURES = os.environ.get("CLOUDSEED_PICTURES")


class Guest(Scene):
    """One guest that has come to its login prompt."""

    def __init__(self, cloud: Daemon) -> None:
        path = build_tiny(openstack.cache())
        with path.open("rb") as file:
            super().__init__(cloud, file, "qcow2" if path.suffix == ".qcow2" else "raw")
        self.server_id = self.boot("guest")
        self.wait_status(self.server_id, "ACTIVE", 120)
        wait_for(lambda: "login:" in self.log_of_console(), 90, "the guest's login prompt")

    def log_of_console(self) -> str:
        body = {"os-getConsoleOutput": {}}
        return str(self.send("POST", f"{COMPUTE}/servers/{self.server_id}/action", body)["output"])

    def url(self, option: str) -> str:
        """What the unmodified client prints."""
        done = self.cloud.openstack("console", "url", "show", option, "-f", "json", self.server_id)
        assert done.returncode == 0, done.stderr
        return str(msgspec.json.decode(done.stdout)["url"])


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Daemon(driver="qemu") as cloud:
        yield Guest(cloud)


async def picture(page: Page, name: str, tmp_path: Path) -> bytes:
    return await page.screenshot((Path(PICTURES) if PICTURES else tmp_path) / name)


COLOURS = """(() => { const canvas = document.querySelector("canvas"); if (!canvas) return 0;
  const data = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(data).size; })()"""
TEXT = """(() => { if (!window.terminal) return ""; terminal.selectAll(); const text = terminal.getSelection();
  terminal.clearSelection(); return text; })()"""


async def test_the_screen(guest: Guest, tmp_path: Path) -> None:
    url = await asyncio.to_thread(guest.url, "--novnc")
    async with Browser() as browser:
        page = await browser.open(url)
        await page.wait("document.getElementById('status').textContent === 'connected'")
        await page.wait(f"{COLOURS} > 1")  # not blank: the guest's letters
        size = await page.evaluate("[document.querySelector('canvas').width, document.querySelector('canvas').height]")
        assert size[0] >= 640 and size[1] >= 400
        before = await page.evaluate("document.querySelector('canvas').toDataURL()")
        await page.type("cirros\r")
        await page.wait(f"document.querySelector('canvas').toDataURL() !== {before!r}")
        await asyncio.sleep(1.0)  # for the picture alone: the guest asks for the password meanwhile
        await picture(page, "console-vnc.png", tmp_path)
        assert page.problems == []
        assert await page.evaluate("document.title") == "guest - Console (noVNC)"


async def test_the_serial_line_takes_a_login(guest: Guest, tmp_path: Path) -> None:
    url = await asyncio.to_thread(guest.url, "--serial")
    async with Browser() as browser:
        page = await browser.open(url)
        await page.wait("document.getElementById('status').textContent.startsWith('connected')")
        await page.type("\r")
        await page.wait(f"{TEXT}.includes('login:')")
        await page.type("cirros\r")
        await page.wait(f"{TEXT}.includes('Password')")
        await page.type("gocubsgo\r")
        await page.wait(f"/[$#] *$/.test({TEXT}.trimEnd())")
        await page.type("echo $((6*7)) is the answer\r")
        await page.wait(f"{TEXT}.includes('42 is the answer')")
        await picture(page, "console-serial.png", tmp_path)
        assert page.problems == []
    # the log goes on, whoever looks
    await asyncio.to_thread(wait_for, lambda: "42 is the answer" in guest.log_of_console(), 10, "the log")


async def test_the_page_says_when_its_token_opens_nothing(guest: Guest) -> None:
    url = await asyncio.to_thread(guest.url, "--novnc")
    async with Browser() as browser:
        page = await browser.open(url[:-4] + "none")
        await page.wait("document.getElementById('status').textContent.includes('ask for a new one')")
        assert await page.evaluate("document.querySelector('canvas') === null")


async def test_no_token_is_in_the_log(guest: Guest) -> None:
    url = await asyncio.to_thread(guest.url, "--novnc")
    async with Browser() as browser:
        page = await browser.open(url)
        await page.wait("document.getElementById('status').textContent === 'connected'")
    token = url.partition("token%3D")[2]
    assert len(token) > 30 and token not in guest.log("control")


async def test_the_page_shows_the_end_of_the_machine(guest: Guest) -> None:
    url = await asyncio.to_thread(guest.url, "--serial")
    async with Browser() as browser:
        page = await browser.open(url)
        await page.wait("document.getElementById('status').textContent.startsWith('connected')")
        await asyncio.to_thread(guest.send, "DELETE", f"{COMPUTE}/servers/{guest.server_id}")
        await page.wait("document.getElementById('status').textContent === 'The machine has ended.'")
    await asyncio.to_thread(guest.wait_gone, guest.server_id)
