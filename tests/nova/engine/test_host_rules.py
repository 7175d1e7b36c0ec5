"""The pure rules of a host: admission, what its reconciler decides, what a guest reads, states."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from cloudseed.nova import server_states
from cloudseed.nova.compute.admission import BUILDING, ENDING, Ask, Kind, Standing, Verdict, admit
from cloudseed.nova.compute.drivers.base import Machine
from cloudseed.nova.compute.network_info import network_info
from cloudseed.nova.compute.reconcile import Mend, decide
from cloudseed.nova.server_states import ServerStateConflict, VmState, api_status, check_action, states_of_status


@pytest.mark.parametrize("kind", sorted(BUILDING))
def test_nothing_is_built_for_an_undone_operation(kind: Kind) -> None:
    assert admit(Standing(undone=frozenset({"op"})), Ask(kind, "op")).verdict is Verdict.REFUSE
    assert admit(Standing(undone=frozenset({"op"})), Ask(kind, "other")).verdict is Verdict.ACCEPT


@pytest.mark.parametrize("kind", list(Kind))
def test_the_same_request_joins_what_is_under_way(kind: Kind) -> None:
    ask = Ask(kind, "op")
    assert admit(Standing(running=ask), ask).verdict is Verdict.JOIN
    assert admit(Standing(waiting=(ask,)), ask).verdict is Verdict.JOIN
    assert admit(Standing(running=ask), Ask(kind, "another")).verdict is Verdict.ACCEPT


@pytest.mark.parametrize("kind", list(Kind))
def test_what_an_operation_had_done_is_not_done_again_by_a_late_copy(kind: Kind) -> None:
    done = frozenset({Ask(kind, "op")})
    assert admit(Standing(done=done), Ask(kind, "op")).verdict is Verdict.JOIN
    assert admit(Standing(done=done), Ask(kind, "another")).verdict is Verdict.ACCEPT
    assert admit(Standing(done=frozenset({Ask(kind)})), Ask(kind)).verdict is Verdict.ACCEPT  # the host's own wish


@pytest.mark.parametrize("kind", list(Kind))
def test_only_ends_are_taken_once_a_server_is_destroyed_and_they_preempt(kind: Kind) -> None:
    decision = admit(Standing(destroyed=True), Ask(kind, "op"))
    assert decision.verdict is (Verdict.ACCEPT if kind in ENDING else Verdict.REFUSE)
    assert admit(Standing(), Ask(kind, "op")).preempts == (kind in ENDING)


def server(vm_state: str, busy: bool = False) -> dict[str, Any]:
    return {"id": "s", "vm_state": vm_state, "busy": busy, "spec": {}}


@pytest.mark.parametrize(("vm_state", "machine", "rebooted", "expected"), [
    ("active", True, False, None), ("active", True, True, None),
    ("active", False, True, Mend.START), ("active", False, False, Mend.TELL_OFF),
    ("active", None, True, Mend.START), ("active", None, False, Mend.TELL_OFF),
    ("stopped", True, False, Mend.STOP), ("stopped", False, True, None), ("stopped", None, False, None),
    ("rescued", False, True, Mend.START), ("rescued", False, False, None), ("rescued", True, False, None),
    ("paused", False, False, Mend.TELL_OFF), ("paused", False, True, Mend.TELL_OFF),
    ("paused", True, False, Mend.PAUSE), ("suspended", False, True, None), ("suspended", True, False, None),
    ("error", True, False, None), ("error", False, True, None), ("building", True, False, None)])
def test_what_is_mended(vm_state: str, machine: bool | None, rebooted: bool, expected: Mend | None) -> None:
    machines = [] if machine is None else [Machine(server_id="s", running=machine)]
    actions = decide(machines, [server(vm_state)], {}, rebooted=rebooted)
    assert [action.mend for action in actions] == ([expected] if expected else [])
    assert decide(machines, [server(vm_state, busy=True)], {}, rebooted=rebooted) == []


@pytest.mark.parametrize(("fate", "expected"), [
    ("deleted", Mend.REMOVE), ("elsewhere", Mend.REMOVE), (None, Mend.UNKNOWN)])
def test_only_machines_whose_fate_is_known_are_removed(fate: str | None, expected: Mend) -> None:
    fates = {"s": fate} if fate else {}
    (action,) = decide([Machine(server_id="s", running=True)], [], fates, rebooted=False)
    assert action.mend is expected


PORT = {"id": "p1", "network_id": "n1", "mac_address": "fa:16:3e:00:00:01", "status": "ACTIVE",
        "fixed_ips": [{"subnet_id": "s1", "ip_address": "10.0.0.5"}, {"subnet_id": "s6", "ip_address": "fd00::5"}],
        "binding:vif_type": "bridge"}
SUBNETS = [{"id": "s1", "cidr": "10.0.0.0/24", "ip_version": 4, "gateway_ip": "10.0.0.1",
            "dns_nameservers": ["9.9.9.9"], "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]},
           {"id": "s6", "cidr": "fd00::/64", "ip_version": 6, "gateway_ip": None}]


def vifs(dhcp: bool) -> list[dict[str, Any]]:
    servers = [{"fixed_ips": [{"subnet_id": "s1", "ip_address": "10.0.0.2"}]}] if dhcp else []
    return network_info([], [PORT], {"n1": {"name": "net", "mtu": 1450, "tenant_id": "t"}}, SUBNETS, servers, ["p1"])


def test_the_picture_of_an_interface() -> None:
    (vif,) = vifs(dhcp=True)
    assert vif["active"] and vif["preserve_on_delete"] and vif["network"]["meta"]["mtu"] == 1450
    four, six = vif["network"]["subnets"]
    assert four["gateway"]["address"] == "10.0.0.1" and four["meta"] == {"dhcp_server": "10.0.0.2"}
    assert [ip["address"] for ip in six["ips"]] == ["fd00::5"] and six["ips"][0]["version"] == 6
    assert six["gateway"]["address"] is None


def test_the_order_of_interfaces_is_kept() -> None:
    ports = [{**PORT, "id": name} for name in ("a", "b", "c")]
    made = network_info(["c", "a"], ports, {}, [], [], [])
    assert [vif["id"] for vif in made] == ["c", "a", "b"]


@pytest.mark.parametrize(("vm_state", "task_state", "status"), [
    ("active", None, "ACTIVE"), ("building", "scheduling", "BUILD"), ("building", "deleting", "BUILD"),
    ("active", "rebooting", "REBOOT"), ("active", "rebooting_hard", "HARD_REBOOT"),
    ("active", "powering-off", "ACTIVE"), ("stopped", None, "SHUTOFF"),
    ("stopped", "powering-on", "SHUTOFF"), ("error", None, "ERROR"),
    ("deleted", None, "DELETED"), ("strange", None, "UNKNOWN")])
def test_status(vm_state: str, task_state: str | None, status: str) -> None:
    assert api_status(vm_state, task_state) == status


def test_every_status_leads_back_to_its_states() -> None:
    for vm_state, (status, exceptions) in server_states._STATUS.items():
        assert vm_state in states_of_status(status)[0]
        for task_state, shown in exceptions.items():
            vm_states, task_states = states_of_status(shown.lower())
            assert vm_state in vm_states and (not task_states or task_state in task_states)


@pytest.mark.parametrize(("action", "vm_state", "task_state", "text"), [
    ("stop", "stopped", None, "Cannot 'stop' instance s while it is in vm_state stopped"),
    ("start", "active", None, "Cannot 'start' instance s while it is in vm_state active"),
    ("stop", "active", "rebooting", "Cannot 'stop' instance s while it is in task_state rebooting"),
    ("soft_reboot", "stopped", None, "Cannot 'reboot' instance s while it is in vm_state stopped"),
    ("hard_reboot", "active", "powering-off", "Cannot 'reboot' instance s while it is in task_state powering-off")])
def test_what_a_state_forbids(action: str, vm_state: str, task_state: str | None, text: str) -> None:
    with pytest.raises(ServerStateConflict, match=text):
        check_action(action, "s", vm_state, task_state)


def test_what_a_state_allows() -> None:
    for action, vm_state, task_state in (("stop", "active", None), ("start", "stopped", None),
                                         ("hard_reboot", "error", None), ("hard_reboot", "active", "rebooting"),
                                         ("delete", "building", "spawning"), ("delete", "error", "deleting")):
        check_action(action, "s", vm_state, task_state)


def test_nothing_comes_back_from_deleted() -> None:
    for old, new in itertools.product(VmState, VmState):
        if old is VmState.DELETED:
            assert server_states.can_move(old, new) == (new is VmState.DELETED)
        elif new in (VmState.ERROR, VmState.DELETED):
            assert server_states.can_move(old, new)
