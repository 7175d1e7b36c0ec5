"""Flows: stored, drawn in the recording's notation, held against a recording."""

from __future__ import annotations

import xml.dom.minidom
from pathlib import Path

from cloudseed.kernel.context import Trace
from cloudseed.kernel.flow import compare, diagram, picture
from cloudseed.kernel.flow.recorder import FlowRecorder
from cloudseed.kernel.flow.store import FlowStore

RECORDING = """
cli->>keystone: GET /identity/
keystone-->>cli: 300 MULTIPLE CHOICES /identity/
cli->>glance-api: GET /
glance-api-->>cli: 300 Multiple Choices None
cli->>glance-api: GET /v2/images/da9259d0-b57f-4230-a2cf-e5bc6cedf19e
nova-api->>glance-api: GET /v2/schemas/image
glance-api-->>cli: 200 OK /v2/images/da9259d0-b57f-4230-a2cf-e5bc6cedf19e
glance-api-->>nova-api: 200 OK /v2/schemas/image
"""


def record(tmp_path: Path, *exchanges: tuple[str, str, str, str, int]) -> FlowStore:
    store = FlowStore(tmp_path / "flows.sqlite")
    recorder = FlowRecorder(store)
    for caller, callee, method, path, status in exchanges:
        exchange = recorder.begin(Trace("a" * 32, "b" * 16), caller, callee, "http", method, path)
        recorder.end(exchange, status)
    recorder.flush()
    return store


GOOD = (
    ("cli", "keystone", "GET", "/identity", 300),
    ("cli", "glance-api", "GET", "/image/", 300),
    ("cli", "glance-api", "GET", "/image/v2/images/11111111-1111-1111-1111-111111111111", 200),
    ("nova-api", "glance-api", "GET", "/image/v2/schemas/image", 200),
)


def test_the_recording_is_read_with_its_answers() -> None:
    kinds = compare.parse_recording(RECORDING)
    assert [(k.method, k.path, k.status) for k in kinds] == [
        ("GET", "/identity", 300),
        ("GET", "/", 300),
        ("GET", "/v2/images/{id}", 200),
        ("GET", "/v2/schemas/image", 200),
    ]


def test_a_flow_that_matches(tmp_path: Path) -> None:
    extra = (*GOOD, ("nova-api", "keystone", "POST", "/identity/v3/auth/tokens", 201))
    flow = compare.kinds_of(record(tmp_path, *extra).exchanges("a" * 32))
    result = compare.compare(flow, compare.parse_recording(RECORDING))
    assert result.ok and result.present == 4 and len(result.additional) == 1


def test_a_missing_kind_a_wrong_status_and_a_wrong_order_are_named(tmp_path: Path) -> None:
    wrong = (GOOD[2], GOOD[0], ("cli", "glance-api", "GET", "/image/", 200))
    result = compare.compare(
        compare.kinds_of(record(tmp_path, *wrong).exchanges("a" * 32)), compare.parse_recording(RECORDING)
    )
    text = compare.report(result)
    assert not result.ok and result.present == 2
    assert "missing: nova-api->>glance-api: GET /v2/schemas/image (200)" in text
    assert "missing: cli->>glance-api: GET / (300)" in text
    assert "out of order: cli->>keystone: GET /identity (300) comes after cli->>glance-api" in text


def test_a_callers_own_choice_can_be_left_out(tmp_path: Path) -> None:
    flow = compare.kinds_of(record(tmp_path, GOOD[3]).exchanges("a" * 32))
    assert compare.compare(flow, compare.parse_recording(RECORDING), {"cli"}).ok


def test_the_notation_and_the_picture(tmp_path: Path) -> None:
    exchanges = record(tmp_path, *GOOD).exchanges("a" * 32)
    text = diagram.mermaid(exchanges)
    assert text.splitlines()[:3] == [
        "sequenceDiagram",
        "cli->>keystone: GET /identity",
        "keystone-->>cli: 300 MULTIPLE CHOICES /identity",
    ]
    assert compare.kinds_of(exchanges) == compare.parse_recording(text)
    assert xml.dom.minidom.parseString(picture.svg(exchanges, title="a & b")).documentElement.tagName == "svg"


def test_an_exchange_seen_twice_is_one_row_and_the_latest_change_is_found(tmp_path: Path) -> None:
    store = FlowStore(tmp_path / "flows.sqlite")
    recorder = FlowRecorder(store)
    slow = recorder.begin(Trace("c" * 32, "b" * 16), "openstack", "nova-api", "http", "POST", "/compute/v2.1/servers")
    recorder.flush()
    slow.changed = True
    recorder.end(slow, 202)
    recorder.end(recorder.begin(Trace("d" * 32, "b" * 16), "openstack", "nova-api", "http", "GET", "/x"), 200)
    recorder.flush()
    assert [e.status for e in store.exchanges("c" * 32)] == [202]
    assert store.last_changed() == "c" * 32
    assert [(f.flow_id[0], f.changed, f.first_change) for f in store.flows()] == [
        ("d", False, ""),
        ("c", True, "POST /compute/v2.1/servers"),
    ]


def test_what_services_do_of_themselves_is_forgotten_before_what_clients_caused(tmp_path: Path) -> None:
    store = FlowStore(tmp_path / "flows.sqlite")
    recorder = FlowRecorder(store)
    for trace, caller in (("a" * 32, "nova-compute"), ("b" * 32, "openstack"), ("b" * 32, "nova-api")):
        exchange = recorder.begin(Trace(trace, "c" * 16), caller, "nova-conductor", "call", "report", "conductor")
        exchange.started -= 3600 * 10**9
        recorder.end(exchange, 200)
    recorder.flush()
    store._forget()
    assert [len(store.exchanges(trace * 32)) for trace in "ab"] == [0, 2]
    assert [flow.flow_id[0] for flow in store.flows()] == ["b"]


def test_a_path_is_one_harmless_line_however_a_client_writes_it(tmp_path: Path) -> None:
    """It is printed on an administrator's terminal and read by Mermaid, where lines and semicolons end a statement."""
    hostile = "/identity/\x1b]0;x\x07\nkeystone->>nova-api: GET /forged;note over keystone: x\x9b\u202e" + "y" * 5000
    flow = record(tmp_path, ("openstack", "keystone", "GET", hostile, 404)).exchanges("a" * 32)
    text = diagram.mermaid(flow)
    assert len(text.splitlines()) == 3 and len(text) < 8192 and ";" not in text
    assert all(line.isprintable() for line in text.splitlines())
    plain = record(tmp_path, ("openstack", "keystone", "GET", "/image/v2/\u00e9", 200)).exchanges("a" * 32)
    assert plain[-1].path == "/image/v2/\u00e9"
