"""Each rule fires on the picture that breaks it, names the right object, and is silent on a clean one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from cloudseed.ledger import checks
from cloudseed.ledger.violations import RULES

NOW = 1_800_000_000.0
SERVER, STOPPED, GONE = (f"{n}{n}{n}{n}{n}{n}{n}{n}-0000-4000-8000-000000000000" for n in "123")
NODE, IMAGE, NETWORK, PORT = (f"{n}{n}{n}{n}{n}{n}{n}{n}-0000-4000-8000-000000000000" for n in "4567")
PORT2 = "88888888-0000-4000-8000-000000000000"
ROUTER, GATEWAY, LEG = (f"{n * 8}-0000-4000-8000-000000000000" for n in "9ab")
VOLUME, VSNAP, ATTACHMENT = (f"{n * 8}-0000-4000-8000-000000000000" for n in "cde")
SPACE, RSPACE = "cs-net-666666660000", "cs-rtr-999999990000"
Picture = dict[str, Any]


def _server(server_id: str, port: str, **values: Any) -> dict[str, Any]:
    return {"id": server_id, "project_id": "p", "name": "vm", "vm_state": "active", "task_state": None,
            "power_state": 1, "host": "here", "node": "here", "image_id": IMAGE, "vcpus": 1, "ram": 256, "disk": 1,
            "ports": [port], "created_at": NOW - 50, "updated_at": NOW - 40, **values}


def _port(port_id: str, server_id: str) -> dict[str, Any]:
    return {"id": port_id, "network_id": NETWORK, "project_id": "p", "device_id": server_id,
            "device_owner": "compute:nova", "host": "here", "vif_type": "bridge", "status": "ACTIVE",
            "status_since": NOW - 300, "since": NOW - 300, "mac_address": "fa:16:3e:00:00:01",
            "admin_state_up": True, "plug_event": None, "addresses": ["10.0.0.5"]}


def clean() -> Picture:
    """One active and one stopped server on one host, with all that belongs to them."""
    used = {"VCPU": 1, "MEMORY_MB": 256, "DISK_GB": 1}
    return {
        "taken_at": NOW,
        "keystone": {"operations": []},
        "placement": {
            "providers": [{"uuid": NODE, "name": "here", "generation": 3, "parent_uuid": None, "inventories": {
                name: {"total": 4096, "capacity": 4096, "used": 2 * amount} for name, amount in used.items()}}],
            "allocations": [{"consumer": s, "provider": NODE, "provider_name": "here", "resources": dict(used)}
                            for s in (SERVER, STOPPED)],
            "consumers": [{"uuid": s, "project_id": "p", "user_id": "u", "consumer_type": "INSTANCE",
                           "generation": 1} for s in (SERVER, STOPPED)],
            "operations": []},
        "swift": {
            "objects": [{"account": "AUTH_s", "container": "glance", "name": IMAGE, "size": 99, "file": "f1",
                         "large": False}],
            "files": [{"file": "f1", "size": 99}, {"file": "f0", "size": 5}],
            "trash": [{"file": "f0", "since": NOW - 5}], "incoming": [], "operations": []},
        "glance": {
            "images": [{"id": IMAGE, "status": "active", "owner": "p", "location": f"swift://glance/{IMAGE}",
                        "size": 99, "since": NOW - 400},
                       {"id": GONE, "status": "queued", "owner": "p", "location": None, "size": None,
                        "since": NOW - 400}],
            "files": {}, "staged": {}, "operations": []},
        "neutron": {
            "networks": [{"id": NETWORK, "project_id": "p", "name": "net", "admin_state_up": True}],
            "subnets": [{"id": "s", "network_id": NETWORK, "cidr": "10.0.0.0/24", "enable_dhcp": True}],
            "ports": [_port(PORT, SERVER), _port(PORT2, STOPPED)],
            "routers": [{"id": ROUTER, "admin_state_up": True, "host": "here", "error": "", "gateway": GATEWAY,
                         "legs": [GATEWAY, LEG], "floatingips": [{"id": "fip", "status": "ACTIVE"}]}],
            "wishes": [{"host": "here", "ports": [PORT, PORT2], "networks": [NETWORK], "external": [NETWORK],
                        "dhcp": [NETWORK], "tunnels": {NETWORK: 7}}],
            "operations": []},
        "nova": {
            "servers": [_server(SERVER, PORT, volumes=[
                            {"volume_id": VOLUME, "attachment_id": ATTACHMENT, "state": "attached",
                             "read_only": False, "device": "d"}]),
                        _server(STOPPED, PORT2, vm_state="stopped", power_state=4)],
            "computes": [{"id": NODE, "host": "here", "node": "here", "up": True, "disabled": False}],
            "console_tokens": [{"digest": "1f", "server_id": SERVER, "kind": "novnc", "expires_at": NOW + 60},
                               {"digest": "2f", "server_id": GONE, "kind": "serial", "expires_at": NOW - 1}],
            "operations": []},
        "cinder": {
            "volumes": [{"id": VOLUME, "project_id": "p", "status": "in-use", "host": "here", "size": 1,
                         "multiattach": False, "since": NOW - 300}],
            "snapshots": [{"id": VSNAP, "volume_id": VOLUME, "project_id": "p", "status": "available", "size": 1,
                           "since": NOW - 300}],
            "attachments": [{"id": ATTACHMENT, "volume_id": VOLUME, "project_id": "p", "server_id": SERVER,
                             "status": "attached", "mode": "rw", "host": "here", "exported": True,
                             "since": NOW - 300}],
            "backups": [], "operations": []},
        "host": {
            "volumes": [VOLUME], "snapshots": [VSNAP], "packs": [], "exports": {ATTACHMENT: VOLUME},
            "exporter_pids": {f"v{VOLUME}-rw": 17},
            "name": "here", "computes": ["here"], "runs_servers": True, "wires_networks": True, "namespaces": [SPACE],
            "networks": {SPACE: NETWORK}, "taps": {SPACE: ["tap77777777-00", "tap88888888-00"]},
            "dnsmasq_pids": {NETWORK: 11}, "machine_pids": {SERVER: 12}, "machines": [SERVER, STOPPED],
            "images": [IMAGE], "strays": [], "routers": {RSPACE: ROUTER}, "radvd_pids": {ROUTER: 15},
            "router_links": {RSPACE: ["qg-aaaaaaaa-00", "qr-bbbbbbbb-00"]}, "host_links": ["cs-x66666"],
            "host_rules": True, "tunnels": {SPACE: 7}, "underlay_rules": True,
            "files": [f"machines/{SERVER}/root.qcow2", f"images/{IMAGE}", f"images/{IMAGE}.info",
                      f"dhcp/{NETWORK}/hosts"]},
    }


def _other(name: str = "there", **values: Any) -> dict[str, Any]:
    """Another host, on which nothing is."""
    return {"volumes": [], "snapshots": [], "packs": [], "exports": {}, "exporter_pids": {}, "name": name,
            "computes": [name], "runs_servers": True, "wires_networks": True, "namespaces": [], "networks": {},
            "taps": {}, "dnsmasq_pids": {}, "machine_pids": {}, "machines": [], "images": [], "strays": [],
            "routers": {}, "radvd_pids": {}, "router_links": {}, "host_links": [], "host_rules": False, "files": [],
            **values}


Change = Callable[[Picture], Any]


def set_server(**values: Any) -> Change:
    return lambda p: p["nova"]["servers"][0].update(values)


def set_port(**values: Any) -> Change:
    return lambda p: p["neutron"]["ports"][0].update(values)


def cinder_holds(status: str = "available", place: str = "", snapshots: list[dict[str, Any]] | None = None) -> Change:
    """A volume in a status, with an attachment in another."""
    attachments = [{"id": "place", "volume_id": "vol", "server_id": "server", "status": place, "exported": True,
                    "mode": "rw", "since": NOW - 700}] if place else []
    return lambda p: p.setdefault("cinder", {}).update(
        volumes=[{"id": "vol", "status": status, "multiattach": False, "host": "nowhere", "size": 1, "project_id": "p",
                  "since": NOW - 700}],
        attachments=attachments, snapshots=snapshots or [], backups=[])


def operation(service: str, kind: str, resource: str, status: str, age: float) -> Change:
    return lambda p: p[service]["operations"].append(
        {"id": "op", "kind": kind, "resource_id": resource, "status": status, "created_at": NOW - age,
         "updated_at": NOW - age})


def failing_undo(age: float) -> Change:
    """An operation whose undo fails again and again, a moment ago for the last time."""
    def change(p: Picture) -> None:
        operation("nova", "nova.migrate", SERVER, "undoing", 5)(p)
        p["nova"]["operations"][-1].update(undo_failing_since=NOW - age, undo_error="undo of stop: no disks")

    return change


def drop_servers(p: Picture) -> None:
    """Both servers gone from nova, all they held still there."""
    p["nova"]["servers"].clear()


BROKEN: list[tuple[str, str, Change]] = [
    ("operation-stuck", "op", operation("nova", "nova.boot", SERVER, "running", 4000)),
    ("operation-stuck", "op", operation("nova", "nova.boot", SERVER, "undoing", 700)),
    ("undo-failing", "op", failing_undo(200)),
    ("state-without-owner", SERVER, set_server(task_state="powering-off")),
    ("state-without-owner", SERVER, set_server(vm_state="building")),
    ("state-without-owner", GONE, lambda p: p["glance"]["images"][1].update(status="saving")),
    ("allocation-missing", SERVER, lambda p: p["placement"]["allocations"].pop(0)),
    ("allocation-amount", SERVER, lambda p: p["placement"]["allocations"][0]["resources"].update(VCPU=2)),
    ("allocation-amount", SERVER, lambda p: p["placement"]["allocations"][0]["resources"].pop("DISK_GB")),
    ("allocation-elsewhere", SERVER, set_server(node="there")),
    ("allocation-leaked", SERVER, drop_servers),
    ("allocation-leaked", SERVER, set_server(host=None, vm_state="error")),
    ("overcommitted", NODE, lambda p: p["placement"]["providers"][0]["inventories"]["VCPU"].update(capacity=1)),
    ("provider-missing", NODE, lambda p: p["placement"]["providers"].clear()),
    ("allocation-leaked", GONE, lambda p: (
        p["placement"]["allocations"].append({"consumer": GONE, "provider": NODE, "provider_name": "here",
                                              "resources": {}}),
        p["placement"]["consumers"].append({"uuid": GONE, "consumer_type": "MIGRATION"}))),
    ("allocation-missing", SERVER, lambda p: p["nova"].update(migrations=[
        {"uuid": GONE, "server_id": SERVER, "status": "finished", "server_exists": True}])),
    ("host-unseen", "here", lambda p: p.update(host={"name": "here", "runs_servers": True, "wires_networks": True,
                                                     "error": "gone"})),
    ("machine-not-running", SERVER, lambda p: p["host"]["machine_pids"].clear()),
    ("machine-runs-on", STOPPED, lambda p: p["host"]["machine_pids"].update({STOPPED: 13})),
    ("machine-missing", STOPPED, lambda p: p["host"]["machines"].remove(STOPPED)),
    ("machine-without-server", SERVER, drop_servers),
    ("machine-without-server", GONE, lambda p: p["host"]["machines"].append(GONE)),
    ("stray-process", "77", lambda p: p["host"]["strays"].append("77 qemu")),
    ("base-image-missing", SERVER, lambda p: p["host"]["images"].clear()),
    ("copy-without-snapshot", "outgoing/x", lambda p: p["host"]["files"].append("outgoing/x")),
    ("file-without-owner", "images/incoming/x", lambda p: p["host"]["files"].append("images/incoming/x")),
    ("port-without-server", PORT, drop_servers),
    ("port-without-server", PORT, set_port(device_owner="", device_id=GONE)),
    ("port-missing", SERVER, set_port(device_id="", device_owner="")),
    ("port-unknown", SERVER, set_server(ports=[])),
    ("port-not-wired", PORT, set_port(status="BUILD")),
    ("port-not-wired", PORT, set_port(status="DOWN")),
    ("event-owed", PORT, set_port(plug_event="network-vif-plugged")),
    ("namespace-missing", NETWORK, lambda p: p["host"]["namespaces"].clear()),
    ("tap-missing", PORT, lambda p: p["host"]["taps"].update({SPACE: []})),
    ("dnsmasq-missing", NETWORK, lambda p: p["host"]["dnsmasq_pids"].clear()),
    ("namespace-leaked", SPACE, lambda p: p["neutron"]["wishes"].clear()),
    ("tap-leaked", "tap99", lambda p: p["host"]["taps"][SPACE].append("tap99")),
    ("dnsmasq-leaked", GONE, lambda p: p["host"]["dnsmasq_pids"].update({GONE: 14})),
    ("tunnel-missing", SPACE, lambda p: p["host"]["tunnels"].clear()),
    ("tunnel-wrong", SPACE, lambda p: p["host"]["tunnels"].update({SPACE: 8})),
    ("tunnel-leaked", SPACE, lambda p: p["neutron"]["wishes"][0].update(tunnels={})),
    ("underlay-rules-leaked", "here", lambda p: p["neutron"]["wishes"][0].update(tunnels={})),
    ("router-failed", ROUTER, lambda p: p["neutron"]["routers"][0].update(error="the range is in use")),
    ("router-missing", ROUTER, lambda p: p["host"]["routers"].clear()),
    ("router-link-missing", "qr-bbbbbbbb-00", lambda p: p["host"]["router_links"][RSPACE].pop()),
    ("router-link-leaked", "qr-1", lambda p: p["host"]["router_links"][RSPACE].append("qr-1")),
    ("router-leaked", RSPACE, lambda p: p["neutron"]["routers"][0].update(host="")),
    ("radvd-leaked", GONE, lambda p: p["host"]["radvd_pids"].update({GONE: 16})),
    ("floating-ip-down", "fip", lambda p: p["neutron"]["routers"][0]["floatingips"][0].update(status="DOWN")),
    ("host-link-leaked", "cs-x77777", lambda p: p["host"]["host_links"].append("cs-x77777")),
    ("host-rules-leaked", "here", lambda p: p["neutron"]["wishes"][0].update(external=[])),
    ("image-bytes-missing", IMAGE, lambda p: p["swift"]["objects"].clear()),
    ("image-bytes-missing", IMAGE, lambda p: p["glance"]["images"][0].update(location=f"file:///{IMAGE}")),
    ("image-size", IMAGE, lambda p: p["swift"]["objects"][0].update(size=98)),
    ("image-bytes-leaked", IMAGE, lambda p: p["glance"]["images"].pop(0)),
    ("image-bytes-leaked", GONE, lambda p: p["glance"]["files"].update({GONE: 5})),
    ("staged-leaked", GONE, lambda p: p["glance"]["staged"].update({GONE: 5})),
    ("object-bytes-missing", f"AUTH_s/glance/{IMAGE}", lambda p: p["swift"]["files"].pop(0)),
    ("object-size", f"AUTH_s/glance/{IMAGE}", lambda p: p["swift"]["files"][0].update(size=1)),
    ("volume-missing", VOLUME, lambda p: p["host"]["volumes"].clear()),
    ("volume-snapshot-missing", VSNAP, lambda p: p["host"]["snapshots"].clear()),
    ("volume-bytes-leaked", GONE, lambda p: p["host"]["volumes"].append(GONE)),
    ("volume-copy-leaked", GONE, lambda p: p["host"]["snapshots"].append(GONE)),
    ("volume-copy-leaked", GONE, lambda p: p["host"]["packs"].append(GONE)),
    ("export-missing", ATTACHMENT, lambda p: p["host"]["exports"].clear()),
    ("export-without-attachment", GONE, lambda p: p["host"]["exports"].update({GONE: VOLUME})),
    ("export-without-attachment", ATTACHMENT, lambda p: p["cinder"]["attachments"].clear()),
    ("export-not-served", ATTACHMENT, lambda p: p["host"]["exporter_pids"].clear()),
    ("attachment-missing", SERVER, lambda p: p["cinder"]["attachments"].clear()),
    ("attachment-missing", SERVER, lambda p: p["cinder"]["attachments"][0].update(volume_id=GONE)),
    ("volume-detach-stuck", SERVER, lambda p: p["nova"]["servers"][0]["volumes"][0].update(state="detaching")),
    ("attachment-without-server", ATTACHMENT, lambda p: p["nova"]["servers"][0]["volumes"].clear()),
    ("attachment-without-server", GONE, lambda p: p["cinder"]["attachments"].append(
        {**p["cinder"]["attachments"][0], "id": GONE, "server_id": GONE, "mode": "ro"})),
    ("two-writers", VOLUME, lambda p: p["cinder"]["attachments"].append(
        {**p["cinder"]["attachments"][0], "id": GONE})),
    ("backup-objects-leaked", GONE, lambda p: p["swift"]["objects"].append(
        {"account": "AUTH_p", "container": "volumebackups", "name": f"volume_{VOLUME}/backup_{GONE}/00001",
         "size": 5, "file": "f1", "large": False})),
    ("file-without-object", "f0", lambda p: p["swift"]["trash"].clear()),
    ("console-token-leaked", "1f", lambda p: p["nova"]["console_tokens"][0].update(server_id=GONE)),
    ("state-without-owner", "vol", cinder_holds(status="creating")),
    ("state-without-owner", "snap", cinder_holds(snapshots=[{"id": "snap", "volume_id": "vol", "status": "deleting"}])),
    ("attachment-stuck", "place", cinder_holds(place="detaching")),
    ("volume-status", "vol", cinder_holds(status="available", place="attached")),
    ("volume-status", "vol", cinder_holds(status="in-use")),
    ("machine-runs-twice", SERVER, lambda p: p.update(hosts=[_other(machine_pids={SERVER: 20}, machines=[SERVER])])),
    ("trash-stays", "f0", lambda p: p["swift"]["trash"][0].update(since=NOW - 3600)),
]


def test_a_clean_picture_has_no_violation() -> None:
    assert checks.check(clean()) == []


@pytest.mark.parametrize(("rule", "subject", "change"), BROKEN, ids=[f"{n}-{b[0]}" for n, b in enumerate(BROKEN)])
def test_a_broken_picture_is_noticed(rule: str, subject: str, change: Change) -> None:
    picture = clean()
    change(picture)
    found = checks.check(picture)
    assert (rule, subject) in {(violation.rule, violation.subject) for violation in found}
    assert all(violation.finding and violation.repair for violation in found)


def test_every_rule_is_broken_by_some_picture() -> None:
    """A rule that no doctored picture breaks would be a rule that may never fire."""
    silent = []
    for rule in RULES:
        for _, _, change in BROKEN:
            picture = clean()
            change(picture)
            if list(rule(picture)):
                break
        else:
            silent.append(rule.__name__)
    assert silent == []


@pytest.mark.parametrize("part", ["keystone", "placement", "swift", "glance", "neutron", "nova", "cinder", "host"])
def test_a_part_that_is_not_there_is_not_judged(part: str) -> None:
    picture = clean()
    del picture[part]
    assert checks.check(picture) == []


def test_what_an_operation_works_on_is_left_to_it() -> None:
    picture = clean()
    for server in (SERVER, STOPPED):
        operation("nova", "nova.delete", server, "running", 5)(picture)
    picture["host"]["machine_pids"].clear()
    picture["placement"]["allocations"].clear()
    for port in picture["neutron"]["ports"]:
        port["device_id"] = ""
    set_server(task_state="deleting")(picture)
    ours = {"machine-not-running", "allocation-missing", "port-missing", "state-without-owner"}
    assert not ours & {violation.rule for violation in checks.check(picture)}


def test_an_undo_that_fails_is_named_with_its_reason_once_it_lasts() -> None:
    picture = clean()
    failing_undo(60)(picture)
    assert checks.check(picture) == []
    picture["nova"]["operations"].clear()
    failing_undo(200)(picture)
    (violation,) = checks.check(picture)
    assert violation.rule == "undo-failing" and "nova.migrate" in violation.finding
    assert "undo of stop: no disks" in violation.finding


def test_only_what_two_pictures_agree_on_stands() -> None:
    first, second = clean(), clean()
    first["host"]["machine_pids"].clear()
    first["swift"]["trash"].clear()
    second["swift"]["trash"].clear()
    assert [violation.rule for violation in checks.standing(first, second)] == ["file-without-object"]


def test_a_fake_hypervisor_has_no_machines_on_the_host() -> None:
    picture = clean()
    picture["host"].update(runs_servers=False, machine_pids={}, machines=[], images=[], files=[])
    assert checks.check(picture) == []


def test_what_its_owner_took_down_is_not_missed() -> None:
    picture = clean()
    set_port(status="DOWN", admin_state_up=False)(picture)
    assert checks.check(picture) == []
    set_port(admin_state_up=True)(picture)
    picture["neutron"]["networks"][0]["admin_state_up"] = False
    assert checks.check(picture) == []


def test_counts_say_what_was_looked_at() -> None:
    counts = checks.counts(copy.deepcopy(clean()))
    assert counts["nova servers"] == 2 and counts["neutron ports"] == 2 and counts["host machine_pids"] == 1


def test_each_of_many_hosts_is_compared_with_what_is_wished_of_it() -> None:
    picture = clean()
    picture["hosts"] = [_other()]
    assert checks.check(picture) == []
    # all that the one host had is another's now
    picture["hosts"] = [{**picture["host"], "name": "elsewhere", "computes": ["elsewhere"]}]
    found = {(violation.rule, violation.subject) for violation in checks.check(picture)}
    assert {("machine-runs-twice", SERVER), ("machine-without-server", SERVER), ("namespace-leaked", SPACE),
            ("router-leaked", RSPACE)} <= found
    assert all("on elsewhere: " in violation.finding for violation in checks.check(picture)
               if violation.rule == "namespace-leaked")
    del picture["host"]
    assert "machine-runs-twice" not in {violation.rule for violation in checks.check(picture)}


def test_many_hosts_have_their_machines_where_the_servers_are() -> None:
    picture = clean()
    mine = picture.pop("host")
    picture["hosts"] = [_other(), mine]
    assert checks.check(picture) == []
    mine["machine_pids"].clear()
    (violation,) = checks.check(picture)
    assert violation.rule == "machine-not-running" and violation.finding.startswith("on here: ")


def test_what_a_silent_host_has_is_unknown_and_not_missing() -> None:
    picture = clean()
    del picture["host"]
    silent = {"name": "here", "computes": ["here"], "error": "nobody listens", "services_up": False}
    picture["hosts"] = [silent]
    assert checks.check(picture) == []
    silent["services_up"] = True
    assert [(violation.rule, violation.subject) for violation in checks.check(picture)] == [("host-unseen", "here")]
