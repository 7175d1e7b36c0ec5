"""The consoles' scripts: bundled text for text, and kept where only their owner changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseed.cli import console_scripts
from cloudseed.guest_images import BuildError
from tests.support.browser import Browser, needs_chromium


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".js")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@needs_chromium
async def test_a_bundle_runs_as_its_modules_would(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "lib",
        public__Terminal='var a = require("../a"); var b = require("./b"); exports.Terminal = [a.name, b.a === a];',
        a='exports.name = "a"; exports.back = require("./public/b");\n//# sourceMappingURL=a.js.map',
        public__b='var a = require("../a.js"); exports.a = a; // a circle',
    )
    script = console_scripts.bundle(root, "public/Terminal.js")
    assert "sourceMappingURL" not in script
    async with Browser() as browser:
        page = await browser.open("about:blank")
        assert await page.evaluate(script + "window.Terminal") == ["a", True]



def test_no_module_outside_is_taken(tmp_path: Path) -> None:
    tree(tmp_path, secret="1")
    for path in ("../secret", "../../etc/hostname", "./missing"):
        root = tree(tmp_path / "lib", entry=f'require("{path}")')
        with pytest.raises(BuildError, match="no such module"):
            console_scripts.bundle(root, "entry.js")


def test_without_packages_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_scripts, "show", lambda names: [])
    state = tmp_path / "state"
    state.mkdir()
    reason = console_scripts.ensure(state, tmp_path / "cache")
    assert reason is not None and "novnc" in reason and "apt-get update" in reason
    assert list(state.iterdir()) == []


def test_a_cloud_gets_its_copy_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "cache" / f"web-{console_scripts._KEY}"
    tree(made, xterm__xterm="1", novnc__core__rfb="2")
    (made / ".made").write_text(console_scripts._KEY)
    state = tmp_path / "state"
    state.mkdir()
    for _ in range(2):
        assert console_scripts.ensure(state, tmp_path / "cache") is None
    assert (state / "web" / "novnc" / "core" / "rfb.js").read_text() == "2"
    assert [path.name for path in state.iterdir()] == ["web"] and (state / "web").stat().st_mode & 0o777 == 0o755
