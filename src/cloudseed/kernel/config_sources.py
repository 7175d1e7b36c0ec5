"""Where each setting came from: a line of the file, the environment or a flag, so that an error can name it."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

ENVIRONMENT = "CLOUDSEED_"
_LINE = re.compile(r"""^\s*(?:\[\s*)?(["']?)([A-Za-z0-9_-]+)\1\s*(?:=|\.|\])""")
_UNKNOWN = re.compile(r"unknown field `(.+?)`")
_PLACE = re.compile(r" - at `\$\.([A-Za-z0-9_]+)")


class ConfigError(ValueError):
    """A setting is wrong; the text says which, where it was given, and why."""


class Sources:
    """The settings as given: the file's, then the environment's, then flags that are not None; the last one counts.

    `names`: every setting there is; `lists`: those that are lists, which the environment and flags give by comma.
    """

    def __init__(self, path: Path | None, flags: Mapping[str, Any], names: Collection[str],
                 lists: Collection[str] = ()) -> None:
        self._path = path
        self._names = names
        self._lines: dict[str, int] = {}
        self._from: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        if path is not None:
            self._read(path)
        for name in names:
            raw = os.environ.get(ENVIRONMENT + name.upper())
            if raw is not None:
                self._put(name, raw, f"{ENVIRONMENT}{name.upper()} in the environment", lists)
        for name, value in flags.items():
            if value is not None:
                self._put(name, value, f"--{name.replace('_', '-')}", lists)

    def _read(self, path: Path) -> None:
        text = ""
        try:
            text = path.read_text()
            self.values.update(tomllib.loads(text))
        except OSError as exc:
            raise ConfigError(f"{path} cannot be read: {exc.strerror}") from None
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
            found = re.search(r"at line (\d+)", str(exc))
            line = found[1] if found else len(text.splitlines())  # else at its end
            raise ConfigError(f"{path}, line {line}: {str(exc).partition(' (at ')[0]}") from None
        within = False  # a table: its keys are no settings
        for number, line in enumerate(text.splitlines(), 1):
            match = _LINE.match(line)
            if match is None:
                continue
            table = line.lstrip().startswith("[")
            if table or not within:
                self._lines.setdefault(match[2], number)
            within = within or table

    def _put(self, name: str, value: Any, source: str, lists: Collection[str]) -> None:
        if name in lists and isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        self.values[name] = value
        self._from[name] = source

    def given(self, name: str) -> bool:
        return name in self.values

    def where(self, name: str) -> str:
        """`FILE, line 3`, `CLOUDSEED_PORT in the environment`, `--port`; for what was not given, the file."""
        if name in self._from:
            return self._from[name]
        file = str(self._path) if self._path is not None else "settings"
        return f"{file}, line {self._lines[name]}" if name in self._lines else file

    def file_of(self, name: str) -> Path | None:
        """The file, if it was given there."""
        return self._path if name in self._lines and name not in self._from else None

    def error(self, name: str, reason: str) -> ConfigError:
        """The error that a setting is wrong, or missing."""
        if not self.given(name):
            return ConfigError(f"{self.where(name)}: {name} is missing: {reason}")
        shown = re.sub(r"://[^@'\"]*@", "://...@", repr(self.values[name]))  # no password on a terminal
        return ConfigError(f"{self.where(name)}: {name} = {shown}: {reason}")

    def invalid(self, text: str) -> ConfigError:
        """As `error`, from what msgspec says of the values."""
        unknown = _UNKNOWN.search(text)
        if unknown is not None:
            name = unknown[1]
            near = difflib.get_close_matches(name, self._names, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            return ConfigError(f"{self.where(name)}: there is no setting {name!r}{hint}")
        place = _PLACE.search(text)
        if place is None:
            return ConfigError(f"{self.where('')}: {text}")
        return self.error(place[1], text[:place.start()].replace("`", "") + ".")
