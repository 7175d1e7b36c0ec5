"""What all pages share: the frame around them, tables, forms with one button, states in colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cloudseed.dashboard.html import Html, el, join
from cloudseed.dashboard.sessions import CSRF_FIELD

if TYPE_CHECKING:
    from cloudseed.dashboard.visit import Visit

PREFIX = "/dashboard"
LISTED = 200  # of anything in a list
_MENU = (("Overview", ""), ("Instances", "/instances"), ("Images", "/images"), ("Networks", "/networks"),
         ("Volumes", "/volumes"), ("Key pairs", "/key_pairs"), ("Flows", "/flows"))
_GOOD = frozenset({"ACTIVE", "active", "available", "in-use", "UP", "ok"})
_BAD = frozenset({"ERROR", "error", "killed", "DOWN", "UNKNOWN"})
_OFF = frozenset({"SHUTOFF", "PAUSED", "SUSPENDED", "SHELVED", "SHELVED_OFFLOADED", "deactivated"})


def document(title: str, body: Any, *, live: bool = False) -> Html:
    """A whole page."""
    head = [el("meta", charset="utf-8"), el("title", f"{title} - Cloudseed"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("link", rel="stylesheet", href=f"{PREFIX}/static/dashboard.css"),
            el("link", rel="icon", href=f"{PREFIX}/static/icon.svg")]
    if live:
        head.append(el("script", src=f"{PREFIX}/static/live.js", defer=True))
    return Html("<!DOCTYPE html>\n" + el("html", el("head", head), el("body", body), lang="en"))


def page(visit: Visit, title: str, content: Any, *, live: bool = False) -> Html:
    """A page of somebody who is logged in."""
    path = visit.req.path
    menu = [el("a", name, href=PREFIX + (where or "/"),
               class_="here" if path == (where or "/") or (where and path.startswith(where + "/")) else None)
            for name, where in _MENU]
    who = visit.token["user"]["name"]
    top = el("header", el("a", el("img", src=f"{PREFIX}/static/icon.svg", alt="", width=26, height=26), "Cloudseed",
                          href=f"{PREFIX}/", class_="brand"),
             el("a", visit.token["project"]["name"], href=f"{PREFIX}/projects", class_="project",
                title="another project"),
             el("span", who, class_="who"), button(visit, "/auth/logout", "Log out", quiet=True))
    return document(title, [top, el("div", el("nav", menu), el("main", el("h1", title), content), class_="columns")],
                    live=live)


def button(visit: Visit, path: str, label: str, *, quiet: bool = False, danger: bool = False,
           new_tab: bool = False, **values: str) -> Html:
    """A form that is one button: what changes something is never a link."""
    kind = "quiet" if quiet else "danger" if danger else None
    return el("form", hidden(visit, **values), el("button", label, type="submit", class_=kind),
              method="post", action=PREFIX + path, target="_blank" if new_tab else None)


def hidden(visit: Visit, **values: str) -> Html:
    """The fields of a form that nobody sees; every form needs the session's."""
    given = {CSRF_FIELD: visit.session.csrf, **values}
    return join([el("input", type="hidden", name=name, value=value) for name, value in given.items()])


def form(visit: Visit, path: str, submit: str, *fields: Any) -> Html:
    return el("form", hidden(visit), fields, el("button", submit, type="submit"), method="post", action=PREFIX + path,
              class_="fields")


def field(label: str, name: str, **attributes: Any) -> Html:
    return el("label", el("span", label), el("input", name=name, **attributes))


def choice(label: str, name: str, options: Iterable[tuple[str, str]], *, none: str | None = None) -> Html:
    """A list to choose from: (value, text); `none` names the choice of nothing."""
    given = [("", none)] if none is not None else []
    return el("label", el("span", label),
              el("select", [el("option", text, value=value) for value, text in [*given, *options]], name=name))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> Html:
    """A table, or what to say when it would be empty."""
    if not rows:
        return el("p", empty, class_="empty")
    more = el("p", f"Only the newest {LISTED} are shown.", class_="more") if len(rows) >= LISTED else None
    head = el("thead", el("tr", [el("th", name) for name in columns]))
    body = el("tbody", [el("tr", [el("td", cell) for cell in row]) for row in rows])
    return el("div", el("table", head, body), more, class_="table")


def state(word: str) -> Html:
    """A state with its colour."""
    kind = "good" if word in _GOOD else "bad" if word in _BAD else "off" if word in _OFF else "busy"
    return el("span", word, class_=f"state {kind}")


def actions(*buttons: Any) -> Html:
    return el("div", buttons, class_="actions")


def size(bytes_: int | None) -> str:
    """1536 -> 1.5 KiB"""
    if bytes_ is None:
        return ""
    value = float(bytes_)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def meter(label: str, used: int, limit: int, unit: str = "") -> Html:
    """How much of a quota is used; a limit below 0 is none."""
    text = f"{used}{unit} of {limit}{unit}" if limit >= 0 else f"{used}{unit}, no limit"
    bar = el("meter", text, min=0, max=max(limit, 1), value=min(used, limit), high=max(limit, 1) * 0.9) \
        if limit >= 0 else None
    return el("div", el("span", label), el("strong", text), bar, class_="meter")
