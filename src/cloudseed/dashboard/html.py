"""HTML from Python calls; whatever is not markup already is escaped, so no name of a server can become a script.

    el("a", server["name"], href=f"/dashboard/instances/{quote(server_id)}", class_="name")
"""

from __future__ import annotations

import html
from typing import Any

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Html(str):
    """Markup.  Made by `el` and `join` alone, never from what somebody sent."""


def el(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element.  Children: markup, text, numbers, lists of them; None is nothing.  Attributes: None and False are
    left out, True stands alone; `class_` is `class`, `data_id` is `data-id`."""
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{html.escape(str(value))}"')
    if name in _VOID:
        return Html(f"<{' '.join(words)}>")
    return Html(f"<{' '.join(words)}>{join(children)}</{name}>")


def join(parts: Any) -> Html:
    """Parts one behind the other."""
    out: list[str] = []
    for part in parts:
        if part is None:
            continue
        if isinstance(part, list | tuple):
            out.append(join(part))
        else:
            out.append(part if isinstance(part, Html) else html.escape(str(part)))
    return Html("".join(out))
