"""A few HTTP calls to our own cloud, for commands of ours that would wait seconds for a client to load."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import msgspec


class ApiError(RuntimeError):
    """The cloud refused; the text is its answer."""


class Api:
    """Logged in as a user of a cloud at `url`; `headers` go with every request (a microversion)."""

    def __init__(self, url: str, user: str, password: str, project: str,
                 headers: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._headers = dict(headers or {})
        self._token = ""
        domain = {"id": "default"}
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": domain, "password": password}},
                },
                "scope": {"project": {"name": project, "domain": domain}},
            }
        }
        _, headers = self._send("POST", "/identity/v3/auth/tokens", msgspec.json.encode(body), "application/json")
        self._token = headers["X-Subject-Token"]

    def _send(self, method: str, path: str, body: Any, content_type: str) -> tuple[bytes, Any]:
        request = urllib.request.Request(self._url + path, data=body, method=method)  # noqa: S310 -- our own URL
        for name, value in {**self._headers, "Content-Type": content_type}.items():
            request.add_header(name, value)
        if self._token:
            request.add_header("X-Auth-Token", self._token)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as response:
                return response.read(), response.headers
        except urllib.error.HTTPError as exc:
            raise ApiError(f"{method} {path}: {exc.code} {exc.read().decode(errors='replace')[:500]}") from None

    def get(self, path: str) -> Any:
        return msgspec.json.decode(self._send("GET", path, None, "application/json")[0])

    def send(self, method: str, path: str, json: Any = None) -> Any:
        """POST, PUT or DELETE with a JSON body; the decoded answer, or None."""
        body = msgspec.json.encode(json) if json is not None else None
        answer = self._send(method, path, body, "application/json")[0]
        return msgspec.json.decode(answer) if answer else None

    def upload(self, path: str, file: Any) -> None:
        """PUT a file's bytes, streamed."""
        self._send("PUT", path, file, "application/octet-stream")
