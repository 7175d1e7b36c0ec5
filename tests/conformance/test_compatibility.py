"""docs/compatibility.md says what is so: its tables are made from the running services."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.compatibility import BEGIN, DOCUMENT, END, Operation, _grouped, generate, load, replace


async def test_the_document_is_up_to_date(tmp_path: Path) -> None:
    document = DOCUMENT.read_text()
    expected = replace(document, await generate(tmp_path))
    assert document == expected, "write it anew: PYTHONPATH=src:. python -m tests.conformance.compatibility"


def test_the_operations_are_upstreams() -> None:
    names = ("identity", "image", "compute", "placement", "network", "object-store", "block-storage")
    assert sum(len(load(name)) for name in names) == 762
    assert Operation("POST", "/v2.1/servers/{}/action", "reboot") in load("compute")


def test_operations_of_one_path_share_a_line() -> None:
    operations = [Operation("POST", "/a/{}/action", "x"), Operation("POST", "/a/{}/action", "y"),
                  Operation("GET", "/b", "")]
    assert _grouped(operations) == ["- `/a/{}/action`: x, y", "- `/b`: GET"]


def test_only_the_generated_part_is_exchanged() -> None:
    new = replace(f"before\n{BEGIN}\nold\n{END}\nafter\n", f"{BEGIN}\nnew\n{END}")
    assert new == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
