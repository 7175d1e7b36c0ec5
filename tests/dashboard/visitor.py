"""A browser without scripts, in process: keeps cookies, reads forms, sends them back as a person's click would."""

from __future__ import annotations

from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import msgspec

from tests.support.cloud import Answer, Client, Cloud


class Form(msgspec.Struct):
    """A form of a page: where it goes and what it holds."""

    action: str
    fields: dict[str, str]
    buttons: list[str]


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._in_button = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.forms.append(Form(given["action"] or "", {}, []))
        elif tag in ("input", "select", "textarea") and given.get("name"):
            self.forms[-1].fields[str(given["name"])] = given.get("value") or ""
        self._in_button = tag == "button"

    def handle_data(self, data: str) -> None:
        if self._in_button:
            self.forms[-1].buttons.append(data)
            self._in_button = False


class Visitor:
    """One browser.  `page` is the text of the page that it shows, `status` its status."""

    def __init__(self, cloud: Cloud) -> None:
        self._client = Client(cloud)
        self.cookies: dict[str, str] = {}
        self.page = ""
        self.status = 0
        self.headers: dict[str, str] = {}

    async def send(self, method: str, path: str, fields: dict[str, str] | None = None,
                   headers: dict[str, str] | None = None) -> Answer:
        """One request, no redirect followed."""
        sent = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), **(headers or {})}
        body = None
        if fields is not None:
            body = urlencode(fields).encode()
            sent["content-type"] = "application/x-www-form-urlencoded"
        answer = await self._client.request(method, path, body=body, headers=sent)
        if "set-cookie" in answer.headers:
            for name, morsel in SimpleCookie(answer.headers["set-cookie"]).items():
                if morsel.value:
                    assert morsel["httponly"] and morsel["samesite"] == "Strict" and morsel["path"] == "/dashboard"
                    self.cookies[name] = morsel.value
                else:
                    self.cookies.pop(name, None)
        return answer

    async def go(self, path: str, method: str = "GET", fields: dict[str, str] | None = None) -> Visitor:
        """Open a page, through its redirects."""
        answer = await self.send(method, path, fields)
        for _ in range(5):
            if answer.status != 303:
                break
            answer = await self.send("GET", answer.headers["location"])
        self.status, self.page, self.headers = answer.status, answer.body.decode(), answer.headers
        return self

    def forms(self) -> list[Form]:
        found = _Forms()
        found.feed(self.page)
        return found.forms

    def form(self, action: str) -> Form:
        return next(form for form in self.forms() if form.action.endswith(action))

    async def submit(self, action: str, **fields: str) -> Visitor:
        """Fill in the form that goes to `action` and press its button."""
        form = self.form(action)
        return await self.go(form.action, "POST", {**form.fields, **fields})

    async def log_in(self, user: str, password: str) -> Visitor:
        await self.go("/dashboard/")
        return await self.submit("/auth/login", username=user, password=password)
