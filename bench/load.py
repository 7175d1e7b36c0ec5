"""A steady load of a cloud that may fail at any moment: workers that make, move, stop and delete servers of their own.

What a worker orders, and in which order, is decided by its seed alone.  What became of it is counted: done, failed
with a reason, or wrong, which is what no harm excuses: an answer of 500, and a server that never comes to rest.
"""

from __future__ import annotations

import random
import re
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from cloudseed.cli.api import Api, ApiError

COMPUTE, NETWORK, IMAGE = "/compute/v2.1", "/networking/v2.0", "/image/v2"
VERBS = ("stop", "reboot", "live-migrate", "migrate")
_THEN = {"stop": "start", "migrate": "confirm"}  # what a customer does next, where the first came off
_LEADS_TO = {"stop": "SHUTOFF", "start": "ACTIVE", "migrate": "VERIFY_RESIZE"}
_ACTIONS: dict[str, dict[str, Any]] = {
    "stop": {"os-stop": None},
    "start": {"os-start": None},
    "reboot": {"reboot": {"type": "HARD"}},
    "live-migrate": {"os-migrateLive": {"host": None, "block_migration": "auto"}},
    "migrate": {"migrate": None},
    "confirm": {"confirmResize": None},
}
HEADERS = {"OpenStack-API-Version": "compute 2.90"}
_HOST = "OS-EXT-SRV-ATTR:host"
_STUCK_S = 240.0
_AWAY = (urllib.error.URLError, OSError, HTTPException)  # nobody listens, or the answer broke off
_IDS = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}|req-\S+")


class Outcome:
    """Counts of all workers.  `wrong` must be empty in the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.wrong: list[str] = []

    def count(self, verb: str, reason: str | None, times: int = 1) -> None:
        with self._lock:
            if reason is None:
                self.done[verb] += times
            else:
                self.failed[f"{verb}: {_IDS.sub('...', reason)[:160]}"] += times

    def say_wrong(self, text: str) -> None:
        with self._lock:
            self.wrong.append(text)


class Customer:
    """An admin who is patient: where nobody answers, and at 503, it asks again."""

    def __init__(self, login: Callable[[], Api], outcome: Outcome) -> None:
        self._login = login
        self._outcome = outcome
        self._api: Api | None = None

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer.  ApiError for what is refused; TimeoutError when nobody answers for long."""
        until = time.monotonic() + _STUCK_S
        while True:
            try:
                if self._api is None:
                    self._api = self._login()
                return self._api.get(path) if method == "GET" else self._api.send(method, path, body)
            except ApiError as exc:
                code = status_of(exc)
                if code == 401:
                    self._api = None
                elif code == 500:
                    self._outcome.say_wrong(f"an answer of 500: {exc}")
                    raise
                elif code not in (502, 503, 504):
                    raise
                reason = str(exc)
            except _AWAY as exc:
                reason = f"{type(exc).__name__}: {exc}"
            if time.monotonic() > until:
                raise TimeoutError(f"{method} {path}: no answer in {_STUCK_S:g} s: {reason}")
            time.sleep(0.3)

    def server(self, server_id: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.ask("GET", f"{COMPUTE}/servers/{server_id}")["server"]
        except ApiError as exc:
            if status_of(exc) == 404:
                return None
            raise
        return found

    def at_rest(self, server_id: str, verb: str = "") -> dict[str, Any] | None:
        """The server once nothing is under way with it, `verb` neither; None when it is gone."""
        until = time.monotonic() + _STUCK_S
        passing = {"BUILD", *(["VERIFY_RESIZE"] if verb == "confirm" else [])}  # which has no task_state
        while (server := self.server(server_id)) is not None:
            if server["OS-EXT-STS:task_state"] is None and server["status"] not in passing:
                return server
            if time.monotonic() > until:
                task = server["OS-EXT-STS:task_state"]
                raise TimeoutError(f"server {server_id} is in {server['status']}, {task}, for {_STUCK_S:g} s")
            time.sleep(0.3)
        return None

    def delete(self, server_id: str) -> None:
        """Until it is gone."""
        until = time.monotonic() + _STUCK_S
        while self.server(server_id) is not None:
            try:
                self.ask("DELETE", f"{COMPUTE}/servers/{server_id}")
            except ApiError as exc:
                if status_of(exc) not in (404, 409):
                    raise
            if time.monotonic() > until:
                raise TimeoutError(f"server {server_id} was deleted and is still there after {_STUCK_S:g} s")
            time.sleep(0.5)


class Scene:
    """What servers need: a flavor, an image (a new one that no machine boots, by default), a network; made while all
    is well.  `disk_gib` 0: as large as the image."""

    def __init__(self, api: Api, image: str = "", ram_mib: int = 64, disk_gib: int = 1) -> None:
        self.flavor = str(api.send("POST", f"{COMPUTE}/flavors", {"flavor": {
            "name": "monkey", "ram": ram_mib, "vcpus": 1, "disk": disk_gib}})["flavor"]["id"])
        self.image = image
        if not image:
            record = {"name": "monkey", "disk_format": "raw", "container_format": "bare"}
            self.image = str(api.send("POST", f"{IMAGE}/images", record)["id"])
            api.upload(f"{IMAGE}/images/{self.image}/file", bytes(1 << 16))
        self.network = str(api.send("POST", f"{NETWORK}/networks", {"network": {"name": "monkey"}})["network"]["id"])
        subnet = {"network_id": self.network, "ip_version": 4, "cidr": "10.67.0.0/22"}
        api.send("POST", f"{NETWORK}/subnets", {"subnet": subnet})

    def order(self, name: str) -> dict[str, Any]:
        return {"server": {"name": name, "flavorRef": self.flavor, "imageRef": self.image,
                           "networks": [{"uuid": self.network}]}}


class Worker(threading.Thread):
    """Makes a server, does some things to it, deletes it, and again, until told to stop: then it leaves its server."""

    def __init__(self, name: str, customer: Customer, scene: Scene, outcome: Outcome, seed: str,
                 verbs: list[str]) -> None:
        super().__init__(name=name, daemon=True)
        self._customer = customer
        self._scene = scene
        self._outcome = outcome
        self._chance = random.Random(seed)
        self._verbs = verbs
        self._stop_asked = threading.Event()

    def stop(self) -> None:
        self._stop_asked.set()

    def run(self) -> None:
        number = 0
        while not self._stop_asked.is_set():
            number += 1
            verbs = self._chance.choices(self._verbs, k=self._chance.randint(0, 4))
            try:
                self._life(f"{self.name}-{number}", verbs)
            except (TimeoutError, ApiError) as exc:
                self._outcome.say_wrong(str(exc))
            self._stop_asked.wait(0.2)

    def _life(self, name: str, verbs: list[str]) -> None:
        server_id = self._make(name)
        if server_id is None:
            return
        for verb in verbs:
            if self._stop_asked.is_set():
                return
            if not self._act(server_id, verb):
                break  # of a server in ERROR there is nothing more to have
        if not self._stop_asked.is_set():
            self._customer.delete(server_id)
            self._outcome.count("delete", None)

    def _make(self, name: str) -> str | None:
        try:
            made = self._customer.ask("POST", f"{COMPUTE}/servers", self._scene.order(name))
        except ApiError as exc:
            self._outcome.count("create", str(exc))
            return None
        server_id = str(made["server"]["id"])
        server = self._customer.at_rest(server_id)
        self._count("create", server)
        if server is not None and server["status"] == "ERROR":
            self._customer.delete(server_id)
            return None
        return server_id

    def _act(self, server_id: str, verb: str) -> bool:
        """Order it and wait for its end; whether the server is whole."""
        before = self._customer.server(server_id)
        try:
            self._customer.ask("POST", f"{COMPUTE}/servers/{server_id}/action", _ACTIONS[verb])
        except ApiError as exc:
            self._outcome.count(verb, str(exc).partition(": ")[2])
            server = self._customer.at_rest(server_id)
            return server is not None and server["status"] in ("ACTIVE", "SHUTOFF")
        server = self._customer.at_rest(server_id, verb)
        self._count(verb, server, before)
        if server is None or server["status"] == "ERROR":
            return False
        follows = _THEN.get(verb)
        return self._act(server_id, follows) if follows and server["status"] == _LEADS_TO[verb] else True

    def _count(self, verb: str, server: dict[str, Any] | None, before: dict[str, Any] | None = None) -> None:
        if server is None:
            self._outcome.say_wrong(f"{verb}: the server is gone, which nobody deleted")
            return
        reason = None
        if server["status"] == "ERROR":
            reason = str(server.get("fault", {}).get("message", "no fault was told"))
        elif server["status"] != _LEADS_TO.get(verb, server["status"]) or (
                verb == "live-migrate" and before is not None and before[_HOST] == server[_HOST]):
            reason = f"it was given up, and left {server['status']} where it was"
        self._outcome.count(verb, reason)


class Watch(threading.Thread):
    """Asks the API again and again; `longest_s` without an answer."""

    def __init__(self, login: Callable[[], Api]) -> None:
        super().__init__(daemon=True)
        self._api = login()
        self._ended = threading.Event()
        self.longest_s = 0.0

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(0.25):
            try:
                self._api.get(f"{COMPUTE}/flavors")
            except (ApiError, *_AWAY):
                continue
            now = time.monotonic()
            self.longest_s, last = max(self.longest_s, now - last), now


def status_of(error: ApiError) -> int:
    """The HTTP status that it was."""
    found = re.search(r": (\d{3}) ", str(error))
    return int(found.group(1)) if found else 0
