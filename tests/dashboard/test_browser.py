"""The dashboard in a real browser: nothing is refused by its own policy, and a flow is drawn while it goes on."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudseed.kernel.config import load_secrets
from tests.faults.scene import COMPUTE, Scene
from tests.support.browser import Browser, Page, needs_chromium
from tests.support.daemon import Daemon

pytestmark = needs_chromium
# pictures stay here when a person wants to see them
PICTURES = os.environ.get("CLOUDSEED_PICTURES")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Daemon(driver="fake") as cloud:
        scene = Scene(cloud)
        first, second = scene.boot("web"), scene.boot("database")
        for server_id in (first, second):
            scene.wait_status(server_id, "ACTIVE")
        scene.act(second, "os-stop")
        scene.wait_status(second, "SHUTOFF")
        yield scene


async def log_in(browser: Browser, scene: Scene) -> Page:
    page = await browser.open(f"{scene.cloud.url}/dashboard/")
    password = load_secrets(scene.cloud.state).passwords["admin"]
    await page.evaluate(f"document.getElementById('id_username').value = 'admin';"
                        f"document.getElementById('id_password').value = {password!r};"
                        "document.querySelector('button').click()")
    await page.wait("document.querySelector('h1')?.textContent === 'Overview'")
    return page


async def test_pages_look_as_they_should(scene: Scene, tmp_path: Path) -> None:
    where = Path(PICTURES) if PICTURES else tmp_path
    async with Browser() as browser:
        page = await browser.open(f"{scene.cloud.url}/dashboard/")
        await page.screenshot(where / "dashboard-login.png")
        page = await log_in(browser, scene)
        for name in ("", "instances", "images", "networks", "volumes", "key_pairs", "projects", "flows",
                     "flows/last"):
            await page.go(f"{scene.cloud.url}/dashboard/{name}")
            await page.wait("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
            # our style reached it: the menu stands beside the page, and nothing is wider than the window
            assert await page.evaluate("document.querySelector('nav').getBoundingClientRect().right <= "
                                       "document.querySelector('main').getBoundingClientRect().left")
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            await page.screenshot(where / f"dashboard-{name.replace('/', '-') or 'overview'}.png")
        assert page.problems == []


async def test_a_flow_is_drawn_while_it_goes_on(scene: Scene) -> None:
    async with Browser() as browser:
        page = await log_in(browser, scene)
        await page.go(f"{scene.cloud.url}/dashboard/flows/last")
        before = await page.evaluate("document.getElementById('flow').src")
        # another client's run, in a flow of its own
        server_id = await asyncio.to_thread(Scene.boot, _again(scene), "watched")
        await page.wait("document.getElementById('told').textContent.includes('/compute/v2.1/servers')")
        await page.wait(f"document.getElementById('flow').src !== {before!r}")
        await page.wait("(image => image.complete && image.naturalHeight > 900)(document.getElementById('flow'))")
        assert page.problems == []
    await asyncio.to_thread(scene.send, "DELETE", f"{COMPUTE}/servers/{server_id}")


def _again(scene: Scene) -> Scene:
    """The same scene with a new token."""
    other = Scene.__new__(Scene)
    other.__dict__ |= {**scene.__dict__, "api": scene.cloud.api}
    return other


async def test_a_console_opens_from_its_button(scene: Scene) -> None:
    async with Browser() as browser:
        page = await log_in(browser, scene)
        await page.go(f"{scene.cloud.url}/dashboard/instances")
        await page.evaluate("(() => { const form = document.querySelector(\"form[action$='/console']\");"
                            "form.target = ''; form.querySelector('button').click(); })()")
        await page.wait("document.getElementById('status')?.textContent === 'connected'")
        await page.wait("document.querySelector('canvas')?.width === 64")
        assert page.problems == []


async def test_the_browser_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="cst-", dir="/tmp") as place:  # unix sockets need short paths
        monkeypatch.setenv("TMPDIR", place)
        monkeypatch.setattr(tempfile, "tempdir", place)
        async with Browser():
            assert os.listdir(place)
        assert not os.listdir(place)
