"""The fifteen steps are found where they happen, and what a flow lacks is said."""

from __future__ import annotations

from cloudseed.kernel.flow import diagram, picture, steps
from cloudseed.kernel.flow.store import StoredExchange

ID = "11111111-1111-4111-8111-111111111111"
# (caller, callee, kind, method, path, the step that it carries)
FLOW: list[tuple[str, str, str, str, str, int]] = [
    ("openstack", "keystone", "http", "GET", "/identity/", 1),
    ("openstack", "keystone", "http", "POST", "/identity/v3/auth/tokens", 2),
    ("openstack", "glance-api", "http", "GET", f"/image/v2/images/{ID}", 0),
    ("glance-api", "keystone", "http", "GET", "/identity/v3/auth/tokens", 0),
    ("openstack", "nova-api", "http", "POST", "/compute/v2.1/servers", 3),
    ("nova-api", "keystone", "http", "GET", "/identity/v3/auth/tokens", 4),
    ("nova-api", "glance-api", "http", "GET", f"/image/v2/images/{ID}", 5),
    ("nova-api", "cinder-api", "http", "POST", "/volume/v3/attachments", 0),
    ("nova-api", "nova-conductor", "cast", "wake", "", 6),
    ("nova-conductor", "nova-scheduler", "call", "select_destination", "", 0),
    ("nova-scheduler", "placement-api", "http", "GET", "/placement/allocation_candidates", 0),
    ("nova-scheduler", "placement-api", "http", "PUT", f"/placement/allocations/{ID}", 7),
    ("nova-conductor", "nova-compute", "call", "allocate_networks", "", 8),
    ("nova-compute", "neutron-server", "http", "POST", "/networking/v2.0/ports", 13),
    ("neutron-server", "nova-api", "http", "POST", "/compute/v2.1/os-server-external-events", 14),
    ("nova-compute", "cinder-api", "http", "PUT", f"/volume/v3/attachments/{ID}", 15),
    ("nova-compute", "glance-api", "http", "GET", f"/image/v2/images/{ID}", 10),
    ("nova-compute", "glance-api", "http", "GET", f"/image/v2/images/{ID}/file", 11),
    ("glance-api", "swift-proxy-server", "http", "GET", "/object-store/v1/AUTH_x/glance/y", 12),
    ("nova-conductor", "nova-compute", "call", "start_new", "", 9)]


def exchanges(without: tuple[int, ...] = ()) -> list[StoredExchange]:
    rows = [row for row in FLOW if row[5] not in without]
    return [StoredExchange("t" * 32, f"{n:016x}", caller, callee, kind, method, path, 200, n * 1000, n * 1000 + 500)
            for n, (caller, callee, kind, method, path, _) in enumerate(rows)]


def test_every_step_is_marked_at_its_exchange() -> None:
    marked = steps.mark(exchanges())
    assert {step.number: step.position for step in marked} == {
        row[5]: n for n, row in enumerate(FLOW) if row[5]}
    assert steps.report(marked).endswith("15 of 15 steps")
    text = diagram.mermaid(exchanges(), rpc=True, notes=steps.notes(marked)).splitlines()
    assert text[1:3] == ["Note over openstack,keystone: Step 1: Request VM Provisioning via UI/CLI",
                         "openstack->>keystone: GET /identity/"]
    place = text.index("Note over nova-compute,cinder-api: Step 15: Request volume attachment")
    assert text[place + 1] == f"nova-compute->>cinder-api: PUT /volume/v3/attachments/{ID}"
    assert len([line for line in text if line.startswith("Note over")]) == 15
    drawn = picture.svg(exchanges(), notes=steps.notes(marked))
    assert all(f"Step {step.number}: {step.title}" in drawn for step in marked)


def test_what_is_missing_is_named_with_its_reason() -> None:
    marked = steps.mark(exchanges(without=(10, 11, 12, 15)))
    assert [step.number for step in marked if step.position is None] == [10, 11, 12, 15]
    text = steps.report(marked)
    assert "Request volume attachment: not in this flow (the machine has no volume)" in text
    assert text.endswith("11 of 15 steps")


def test_what_came_before_the_order_is_no_part_of_it() -> None:
    """An image that a client looked at, or another server's port, is no step of this server."""
    found = exchanges()
    early = [e for e in found if e.caller == "nova-compute"] + [e for e in found if e.callee == "nova-api"]
    assert [step.number for step in steps.mark(early) if step.position is not None] == [1, 3, 14]
