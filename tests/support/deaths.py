"""Where processes of a running cloud's hosts are to die, and which points they pass, told by files (points.py)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class Deaths:
    """`environment` goes to the cloud's processes, each of a user of its own: all may rename in the directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        directory.chmod(0o777)

    @property
    def environment(self) -> dict[str, str]:
        return {"CLOUDSEED_DIE_AT": str(self._directory)}

    def listen(self) -> None:
        """Keep the names of points that are passed from now on."""
        (self._directory / "passed").touch()
        (self._directory / "passed").chmod(0o666)

    def heard(self) -> list[str]:
        """Each name that was passed since `listen`, in the order of its first time; no more are kept."""
        path = self._directory / "passed"
        text = path.read_text()
        path.unlink()
        return list(dict.fromkeys(text.splitlines()))

    def arm(self, names: Iterable[str]) -> None:
        """Who passes one of these dies there, the first one who comes."""
        for name in names:
            (self._directory / name).touch()

    def died(self) -> list[str]:
        """At which of the points somebody died."""
        return sorted(path.name.removesuffix(".died") for path in self._directory.glob("*.died"))

    def disarm(self) -> list[str]:
        """Nobody will die any more.  At which points nobody did."""
        left = []
        for path in self._directory.iterdir():
            if path.name == "passed":
                continue
            if path.suffix != ".died":
                left.append(path.name)
            path.unlink(missing_ok=True)
        return sorted(left)
