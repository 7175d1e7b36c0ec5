"""The scripts that draw consoles in the browser: noVNC and xterm.js, out of Debian's packages, at set-up.

The packages are downloaded by apt, checked by its signed digests, unpacked and never installed; the upstream
versions are pinned here, so that only Debian's own corrections of them are taken.  What a page needs lies then in the
cache, and each cloud gets a copy in `<state>/web`, which nobody but root may change.

xterm.js comes as CommonJS modules; a browser has no `require`, so they are wrapped into one file, text for text.
"""

from __future__ import annotations

import fcntl
import json
import posixpath
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from cloudseed.guest_images import BuildError
from cloudseed.guest_images.packages import download, show, unpack

PINNED = {"novnc": "1.3.0", "node-xterm": "3.8.1"}  # upstream's versions, as Debian 12 has them
_KEY = "-".join(PINNED.values()) + "-1"  # the last number counts what we make of them
_NOVNC, _XTERM = "usr/share/novnc", "usr/share/nodejs/xterm/lib"
_REQUIRE = re.compile(r"""\brequire\(["'](\.{1,2}/[^"']+)["']\)""")
_LOADER = """(function () {
  var modules = {%s};
  var loaded = {};
  function load(name) {
    if (!loaded[name]) {
      var module = loaded[name] = { exports: {} };
      modules[name][0](function (path) { return load(modules[name][1][path]); }, module, module.exports);
    }
    return loaded[name].exports;
  }
  window.Terminal = load(%s).Terminal;
})();
"""


def ensure(state: Path, cache: Path, progress: Callable[[str], None] = lambda text: None) -> str | None:
    """Put the scripts into the state directory unless they are there; why not, when they cannot be had.

    Consoles are no reason for a cloud not to start, so nothing is raised for a missing network or package.
    """
    target = state / "web"
    if _mark(target):
        return None
    try:
        source = _cached(cache, progress)
        fresh = Path(tempfile.mkdtemp(prefix="web-", dir=state))
        try:
            shutil.copytree(source, fresh, dirs_exist_ok=True)
            for path in (fresh, *fresh.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except (BuildError, OSError) as exc:
        return str(exc)
    return None


def _mark(directory: Path) -> bool:
    mark = directory / ".made"
    return mark.exists() and mark.read_text() == _KEY


def _cached(cache: Path, progress: Callable[[str], None]) -> Path:
    """The scripts in the cache, made when they are not there."""
    target = cache / f"web-{_KEY}"
    if _mark(target):
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".web.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _mark(target):
            return target
        progress("fetching the consoles' pages")
        packages = show(PINNED)
        for package in packages:
            upstream = package.version.partition(":")[2] or package.version
            if not re.match(re.escape(PINNED[package.name]) + r"([+~-]|$)", upstream):
                raise BuildError(f"{package.name} is {package.version} here, and {PINNED[package.name]} is needed")
        if missing := PINNED.keys() - {package.name for package in packages}:
            raise BuildError(f"apt does not know {', '.join(sorted(missing))}. Fix: sudo apt-get update")
        with tempfile.TemporaryDirectory(prefix="web-", dir=cache) as name:
            unpacked, made = Path(name) / "unpacked", Path(name) / "made"
            unpack(download(packages, cache / "web-packages"), unpacked)
            _make(unpacked, made)
            shutil.rmtree(target, ignore_errors=True)
            made.rename(target)
    return target


def _make(unpacked: Path, made: Path) -> None:
    """From the packages' trees: noVNC's library as it is, xterm.js as one file and its style."""
    for part in ("core", "vendor"):
        shutil.copytree(unpacked / _NOVNC / part, made / "novnc" / part, symlinks=True)
    (made / "xterm").mkdir()
    (made / "xterm" / "xterm.js").write_text(bundle(unpacked / _XTERM, "public/Terminal.js"))
    shutil.copy(unpacked / _XTERM / "xterm.css", made / "xterm")
    for path in (made, *made.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    (made / ".made").write_text(_KEY)


def bundle(root: Path, entry: str) -> str:
    """A script with the module `entry` and all that it requires, which sets `window.Terminal`."""
    found: dict[str, str] = {}
    wanted = [entry]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        text = (root / name).read_text()
        needs = {path: _resolve(root, name, path) for path in _REQUIRE.findall(text)}
        wanted += needs.values()
        text = "\n".join(line for line in text.splitlines() if not line.startswith("//# sourceMappingURL="))
        found[name] = f"{json.dumps(name)}: [function (require, module, exports) {{\n{text}\n}}, {json.dumps(needs)}]"
    return _LOADER % (",\n".join(found[name] for name in sorted(found)), json.dumps(entry))


def _resolve(root: Path, name: str, path: str) -> str:
    """The module that `name` means by `path`, below `root` and nowhere else."""
    plain = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
    for found in (plain, f"{plain}.js", f"{plain}/index.js"):
        if not found.startswith("..") and (root / found).is_file():
            return found
    raise BuildError(f"xterm.js asks for {path} in {name}, and there is no such module")
