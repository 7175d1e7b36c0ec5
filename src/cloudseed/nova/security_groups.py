"""Security groups in the words of nova's old API, which ends with microversion 2.35: neutron keeps them.

Every function asks neutron as the user, so neutron's policy and quota decide; what it says is passed on under the
statuses that nova's clients know.  A rule here is one of ingress: nova's API never had another.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.nova import servers

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

Json = dict[str, Any]
GROUPS, RULES = "/v2.0/security-groups", "/v2.0/security-group-rules"
POLICY = "os_compute_api:os-security-groups:"


async def list_groups(nova: Nova, ctx: Context, *, everybody: bool = False) -> list[Json]:
    """The project's groups, or everybody's; in nova's shape, by project and name."""
    _enforce(nova, ctx, "get")
    params = {} if everybody else {"project_id": ctx.project_id}
    found = await _get(nova, ctx, GROUPS, params)
    return await views(nova, ctx, sorted(found["security_groups"], key=lambda g: (g["tenant_id"], g["name"])))


async def get_group(nova: Nova, ctx: Context, group_id: str) -> Json:
    _enforce(nova, ctx, "show")
    return (await views(nova, ctx, [await _group(nova, ctx, group_id)]))[0]


async def create_group(nova: Nova, ctx: Context, name: str, description: str | None) -> Json:
    _enforce(nova, ctx, "create")
    body = {"security_group": {"name": name, "description": description or ""}}
    made = await _send(nova, ctx, "POST", GROUPS, body)
    return (await views(nova, ctx, [made["security_group"]]))[0]


async def update_group(nova: Nova, ctx: Context, group_id: str, name: str, description: str | None) -> Json:
    _enforce(nova, ctx, "update")
    body = {"security_group": {"name": name, "description": description or ""}}
    changed = await _send(nova, ctx, "PUT", f"{GROUPS}/{group_id}", body)
    return (await views(nova, ctx, [changed["security_group"]]))[0]


async def delete_group(nova: Nova, ctx: Context, group_id: str) -> None:
    """A group that ports use is refused with 400, as nova always did."""
    _enforce(nova, ctx, "delete")
    await _send(nova, ctx, "DELETE", f"{GROUPS}/{group_id}")


async def create_rule(nova: Nova, ctx: Context, group_id: str, *, protocol: str | None, from_port: Any, to_port: Any,
                      cidr: str | None, remote_group_id: str | None) -> Json:
    """Let in what comes from `cidr` (everywhere when there is none) or from members of another group."""
    _enforce(nova, ctx, "rule:create")
    network = _network(cidr)
    ports = _ports(protocol, from_port, to_port, needed=remote_group_id is None)
    rule = {"security_group_id": group_id, "direction": "ingress", "protocol": protocol.lower() if protocol else None,
            "port_range_min": ports[0], "port_range_max": ports[1],
            "ethertype": "IPv6" if network is not None and network.version == 6 else "IPv4"}
    if remote_group_id:
        rule["remote_group_id"] = remote_group_id
    else:
        rule["remote_ip_prefix"] = cidr or None
    try:
        made = await _send(nova, ctx, "POST", RULES, {"security_group_rule": rule})
    except Conflict as exc:
        if "exists" in exc.message:
            raise Invalid(f"This rule already exists in group {group_id}") from exc
        raise Invalid(exc.message) from exc
    return rule_view(made["security_group_rule"], await _named(nova, ctx, [made["security_group_rule"]]))


async def delete_rule(nova: Nova, ctx: Context, rule_id: str) -> None:
    _enforce(nova, ctx, "rule:delete")
    await _send(nova, ctx, "DELETE", f"{RULES}/{rule_id}")


async def add_to_server(nova: Nova, ctx: Context, server_id: str, name: str) -> None:
    """Put the group on every port of the server that can have groups."""
    await servers.get_server(nova, ctx, server_id, POLICY + "add")
    group_id = await _find(nova, ctx, name)
    for port in await _server_ports(nova, ctx, server_id):
        if port.get("port_security_enabled", True) and port.get("fixed_ips") \
                and group_id not in port["security_groups"]:
            await _set_groups(nova, ctx, port, [*port["security_groups"], group_id])


async def remove_from_server(nova: Nova, ctx: Context, server_id: str, name: str) -> None:
    """Raises NotFound when no port of the server has the group."""
    await servers.get_server(nova, ctx, server_id, POLICY + "remove")
    group_id = await _find(nova, ctx, name)
    members = [port for port in await _server_ports(nova, ctx, server_id) if group_id in port["security_groups"]]
    if not members:
        raise NotFound(f"Security group {name} not associated with the instance {server_id}")
    for port in members:
        await _set_groups(nova, ctx, port, [group for group in port["security_groups"] if group != group_id])


def _enforce(nova: Nova, ctx: Context, rule: str) -> None:
    """The target is the caller's own project: whose group it is, neutron knows and decides."""
    nova.policy.enforce(POLICY + rule, ctx.identity, {"project_id": ctx.project_id})


# ---- nova's words

async def views(nova: Nova, ctx: Context, groups: list[Json]) -> list[Json]:
    """Neutron's groups in nova's shape; one more question, whatever their number."""
    rules = {group["id"]: [rule for rule in group.get("security_group_rules", ()) if rule["direction"] == "ingress"]
             for group in groups}
    named = await _named(nova, ctx, [rule for some in rules.values() for rule in some], groups)
    return [{"id": group["id"], "name": group["name"], "description": group.get("description") or "",
             "tenant_id": group["tenant_id"], "rules": [rule_view(rule, named) for rule in rules[group["id"]]]}
            for group in groups]


def rule_view(rule: Json, named: dict[str, Json]) -> Json:
    """One ingress rule; `named`: the groups that rules speak of, by id."""
    protocol, remote = rule.get("protocol"), rule.get("remote_group_id")
    any_port = (None, None) if not protocol else (1, 65535) if protocol in ("tcp", "udp") else (-1, -1)
    low, high = rule.get("port_range_min"), rule.get("port_range_max")
    prefix = rule.get("remote_ip_prefix")
    if not prefix and not remote:
        prefix = "::/0" if rule.get("ethertype") == "IPv6" else "0.0.0.0/0"
    view = {"id": rule["id"], "parent_group_id": rule["security_group_id"], "ip_protocol": protocol,
            "from_port": any_port[0] if low is None else low, "to_port": any_port[1] if high is None else high,
            "group": {}, "ip_range": {"cidr": prefix} if prefix else {}}
    if remote:
        group = named.get(remote, {"name": remote, "tenant_id": rule.get("tenant_id")})
        view["group"] = {"name": group["name"], "tenant_id": group["tenant_id"]}
    return view


async def _named(nova: Nova, ctx: Context, rules: Iterable[Json], known: Iterable[Json] = ()) -> dict[str, Json]:
    named = {group["id"]: group for group in known}
    missing = sorted({rule["remote_group_id"] for rule in rules if rule.get("remote_group_id")} - named.keys())
    for start in range(0, len(missing), 150):  # ids in one query string
        found = await _get(nova, ctx, GROUPS, {"id": missing[start:start + 150], "fields": ["id", "name", "tenant_id"]})
        named |= {group["id"]: group for group in found["security_groups"]}
    return named


def _network(cidr: str | None) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if not cidr:
        return None
    try:
        return ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        raise Invalid(f"{cidr[:64]} is not a valid IP network.") from None


def _ports(protocol: str | None, from_port: Any, to_port: Any, *, needed: bool) -> tuple[int | None, int | None]:
    """The ports (type and code for ICMP) as neutron has them; -1 means any."""
    if protocol and protocol.upper() not in ("TCP", "UDP", "ICMP"):
        raise Invalid(f"Invalid IP protocol {protocol[:64]}.")
    if protocol is None and from_port is None and to_port is None and not needed:
        return None, None
    if protocol is None or from_port is None or to_port is None:
        if not needed and protocol is not None and from_port is None and to_port is None:
            return None, None
        raise Invalid("Not enough parameters to build a valid rule.")
    try:
        low, high = int(from_port), int(to_port)
    except (TypeError, ValueError):
        raise Invalid("Invalid input received: To and From ports must be integers") from None
    name = protocol.upper()
    if name == "ICMP":
        if not (-1 <= low <= 255 and -1 <= high <= 255):
            raise Invalid(f"Invalid port range {low}:{high}. For ICMP, the type:code must be valid")
        return None if low == -1 else low, None if high == -1 else high
    if low == high == -1:
        return None, None
    if low > high:
        raise Invalid(f"Invalid port range {low}:{high}. Former value cannot be greater than the later")
    if low < 1 or high > 65535:
        raise Invalid(f"Invalid port range {low}:{high}. Valid {name} ports should be between 1-65535")
    return low, high


# ---- neutron

async def _get(nova: Nova, ctx: Context, path: str, params: Json | None = None) -> Any:
    return await nova.api_session.get_json(ctx, "network", path, as_user=True, params=params or {})


async def _send(nova: Nova, ctx: Context, method: str, path: str, body: Json | None = None) -> Any:
    """A change by neutron; that a group is in use is a 400 to nova's clients, and a full quota a 403."""
    try:
        answer = await nova.api_session.request(ctx, "network", method, path, json=body, as_user=True)
    except Conflict as exc:
        if method == "DELETE":
            raise Invalid(exc.message) from exc
        if "quota" in exc.message.lower() or ("already exists" in exc.message and path == GROUPS):
            raise Forbidden(exc.message) from exc
        raise
    return answer.json() if method != "DELETE" else None


async def _group(nova: Nova, ctx: Context, group_id: str) -> Json:
    group: Json = (await _get(nova, ctx, f"{GROUPS}/{group_id}"))["security_group"]
    return group


async def _find(nova: Nova, ctx: Context, name: str) -> str:
    """The id of the project's group with this id or name."""
    found = (await _get(nova, ctx, GROUPS, {"project_id": ctx.project_id, "fields": ["id", "name"]}))["security_groups"]
    ids = [group["id"] for group in found if group["id"] == name] or \
        [group["id"] for group in found if group["name"] == name]
    if not ids:
        raise NotFound(f"Security group {name} not found for project {ctx.project_id}.")
    if len(ids) > 1:
        raise Conflict(f"Multiple security_group matches found for name '{name}', use an ID to be more specific.")
    return str(ids[0])


async def _server_ports(nova: Nova, ctx: Context, server_id: str) -> list[Json]:
    ports: list[Json] = (await _get(nova, ctx, "/v2.0/ports", {"device_id": server_id}))["ports"]
    if not ports:
        raise NotFound(f"Security group not found: instance {server_id} has no port.")
    return ports


async def _set_groups(nova: Nova, ctx: Context, port: Json, groups: list[str]) -> None:
    await nova.api_session.request(ctx, "network", "PUT", f"/v2.0/ports/{port['id']}", as_user=True,
                                   json={"port": {"security_groups": groups}})
