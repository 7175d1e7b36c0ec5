"""A flow as an SVG picture: lifelines, arrows, answers dashed.  Drawn here, so that it needs no browser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from cloudseed.kernel.flow.diagram import lines, participants
from cloudseed.kernel.flow.store import StoredExchange

_COLUMN, _ROW, _TOP, _LEFT = 176, 22, 64, 110
_GAP = 20  # between the names of two columns
_COLORS = ("#2563eb", "#7c3aed", "#db2777", "#dc2626", "#ea580c", "#ca8a04", "#16a34a", "#0d9488", "#0284c7", "#475569")


def svg(exchanges: Iterable[StoredExchange], *, rpc: bool = True, title: str = "",
        notes: Mapping[int, str] | None = None, column: int = _COLUMN) -> str:
    """The picture as an SVG document; `notes` are written at the requests of exchanges, by their places in the flow.
    `column`: pixels from one lifeline to the next, 130 at least for the names."""
    arrows = lines(exchanges, rpc=rpc)
    names = participants(arrows)
    x = {name: _LEFT + i * column for i, name in enumerate(names)}
    color = {name: _COLORS[i % len(_COLORS)] for i, name in enumerate(names)}
    width, height = 2 * _LEFT + max(len(names) - 1, 0) * column, _TOP + (len(arrows) + 2) * _ROW + 24
    start = arrows[0].at if arrows else 0
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="ui-sans-serif, system-ui, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="20" font-size="14" font-weight="600" fill="#0f172a">{escape(title)}</text>',
    ]
    for name in names:
        out.append(f'<line x1="{x[name]}" y1="{_TOP}" x2="{x[name]}" y2="{height - 20}" stroke="#cbd5e1"/>')
        box = column - _GAP
        out.append(
            f'<rect x="{x[name] - box // 2}" y="{_TOP - 28}" width="{box}" height="24" rx="6" fill="{color[name]}"/>'
        )
        out.append(
            f'<text x="{x[name]}" y="{_TOP - 12}" font-size="12" fill="#ffffff" text-anchor="middle">'
            f"{escape(name)}</text>"
        )
    for row, line in enumerate(arrows):
        y = _TOP + (row + 1) * _ROW
        source, target = x[line.source], x[line.target]
        stroke = color[line.target if line.style == "answer" else line.source]
        dash = ' stroke-dasharray="4 3"' if line.style != "request" else ""
        if source == target:
            out.append(f'<path d="M{source} {y - 6} h24 v10 h-20" fill="none" stroke="{stroke}"{dash}/>')
            tip, step = source + 4, -1
        else:
            out.append(f'<line x1="{source}" y1="{y}" x2="{target}" y2="{y}" stroke="{stroke}"{dash}/>')
            tip, step = target, 1 if target > source else -1
        end = y + 4 if source == target else y
        out.append(f'<path d="M{tip} {end} l{-7 * step} -4 v8 z" fill="{stroke}"/>')
        label = line.text if len(line.text) <= 64 else line.text[:31] + "..." + line.text[-30:]
        middle = (source + target) / 2 if source != target else source + 30
        anchor = "middle" if source != target else "start"
        out.append(
            f'<text x="{middle:.0f}" y="{y - 4}" font-size="9.5" fill="#334155" text-anchor="{anchor}" '
            f'stroke="#ffffff" stroke-width="3" paint-order="stroke">{escape(label)}</text>'
        )
        if notes and line.exchange in notes:
            out.append(
                f'<text x="{max(source, target) + 8}" y="{y + 3}" font-size="10" font-weight="700" fill="#b91c1c" '
                f'stroke="#ffffff" stroke-width="3" paint-order="stroke">{escape(notes[line.exchange])}</text>'
            )
        out.append(f'<text x="6" y="{y}" font-size="8.5" fill="#94a3b8">+{(line.at - start) / 1e6:.0f} ms</text>')
    out.append("</svg>\n")
    return "\n".join(out)
