"""/v2.0/qos/policies with their rules, /v2.0/qos/rule-types, and rules without their policy in the URL (aliases)"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import access, attributes, listing, qos_policies, qos_rules
from cloudseed.neutron import converters as to
from cloudseed.neutron.api.collection import Kind
from cloudseed.neutron.attributes import READ_ONLY, REQUIRED, Attribute, standard
from cloudseed.neutron.qos_types import TYPES
from cloudseed.neutron.server import Neutron

MAX = 2**31 - 1
DIRECTIONS = ("egress", "ingress")
DSCP_MARKS = (0, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 44, 46, 48, 56)

POLICIES = Kind("policy", "policies", {
    **standard(),
    "shared": Attribute(to.boolean, False),
    "is_default": Attribute(to.boolean, False),
    "rules": READ_ONLY,
}, qos_policies.SPEC, qos_policies.list_qos_policies, qos_policies.get_qos_policy, qos_policies.create_qos_policies,
    qos_policies.update_qos_policy, qos_policies.delete_qos_policy)


def _mark(value: Any) -> int:
    return int(to.one_of(DSCP_MARKS)(to.integer(0, 63)(value)))


def _rule_attributes(type_name: str) -> dict[str, Attribute]:
    kind, count = TYPES[type_name], to.integer(0, MAX)
    found = {"id": READ_ONLY, kind.rate: Attribute(_mark if type_name == "dscp_marking" else count, REQUIRED)}
    if kind.burst:
        found[kind.burst] = Attribute(count, 0)
    if kind.directed:
        found["direction"] = Attribute(to.one_of(DIRECTIONS), "egress")
    # clients may name the project; it is the policy's
    return found | {name: Attribute(to.string(255), "", put=False) for name in ("project_id", "tenant_id")}


ATTRIBUTES = {type_name: _rule_attributes(type_name) for type_name in TYPES}


class Rules:
    """GET and POST of the rules of one type of a policy"""

    def __init__(self, neutron: Neutron, type_name: str) -> None:
        self._neutron = neutron
        self._type = type_name

    async def on_get(self, req: Request, resp: Response, id: str) -> None:
        query = listing.parse(req, qos_rules.SPECS[self._type])
        found = await qos_rules.list_qos_rules(self._neutron, req.ctx, self._type, id, query)
        resp.media = {f"{self._type}_rules": found}

    async def on_post(self, req: Request, resp: Response, id: str) -> None:
        name = f"{self._type}_rule"
        wishes, _ = attributes.parse_create(name, f"{name}s", ATTRIBUTES[self._type], await req.json(), req.ctx, True)
        resp.media = {name: await qos_rules.create_qos_rule(self._neutron, req.ctx, self._type, id, wishes[0])}
        resp.status = 201


class Rule:
    """GET, PUT and DELETE of a rule"""

    def __init__(self, neutron: Neutron, type_name: str) -> None:
        self._neutron = neutron
        self._type = type_name

    async def on_get(self, req: Request, resp: Response, id: str, rule_id: str) -> None:
        found = await qos_rules.get_qos_rule(self._neutron, req.ctx, self._type, id, rule_id)
        resp.media = {f"{self._type}_rule": found}

    async def on_put(self, req: Request, resp: Response, id: str, rule_id: str) -> None:
        wish = attributes.parse_update(f"{self._type}_rule", ATTRIBUTES[self._type], await req.json())
        changed = await qos_rules.update_qos_rule(self._neutron, req.ctx, self._type, id, rule_id, wish)
        resp.media = {f"{self._type}_rule": changed}

    async def on_delete(self, req: Request, resp: Response, id: str, rule_id: str) -> None:
        await qos_rules.delete_qos_rule(self._neutron, req.ctx, self._type, id, rule_id)
        resp.status = 204


class Alias:
    """/v2.0/qos/alias_<type>_rules/{rule_id}: the same, whatever policy the rule is of"""

    def __init__(self, neutron: Neutron, type_name: str) -> None:
        self._neutron = neutron
        self._type = type_name
        self._rule = Rule(neutron, type_name)

    async def _policy(self, rule_id: str) -> str:
        return await qos_rules.policy_of(self._neutron, self._type, rule_id)

    async def _answer(self, req: Request, resp: Response, rule_id: str) -> None:
        # upstream wraps what it shows of an alias in the alias's name
        resp.media = {f"alias_{self._type}_rule": resp.media.pop(f"{self._type}_rule")}

    async def on_get(self, req: Request, resp: Response, rule_id: str) -> None:
        await self._rule.on_get(req, resp, await self._policy(rule_id), rule_id)
        await self._answer(req, resp, rule_id)

    async def on_put(self, req: Request, resp: Response, rule_id: str) -> None:
        body: Any = await req.json()
        name = f"alias_{self._type}_rule"
        named = name if isinstance(body, dict) and name in body else f"{self._type}_rule"
        wish = attributes.parse_update(named, ATTRIBUTES[self._type], body)
        changed = await qos_rules.update_qos_rule(self._neutron, req.ctx, self._type, await self._policy(rule_id),
                                                  rule_id, wish)
        resp.media = {name: changed}

    async def on_delete(self, req: Request, resp: Response, rule_id: str) -> None:
        await self._rule.on_delete(req, resp, await self._policy(rule_id), rule_id)


def _range(name: str) -> dict[str, Any]:
    return {"parameter_name": name, "parameter_type": "range", "parameter_values": {"start": 0, "end": MAX}}


def _choices(name: str, values: tuple[Any, ...]) -> dict[str, Any]:
    return {"parameter_name": name, "parameter_type": "choices", "parameter_values": list(values)}


def _driver(type_name: str) -> dict[str, Any]:
    kind = TYPES[type_name]
    if type_name == "dscp_marking":
        return {"name": "linuxbridge", "supported_parameters": [_choices("dscp_mark", DSCP_MARKS)]}
    named = [_range(name) for name in (kind.rate, kind.burst) if name]
    return {"name": "linuxbridge", "supported_parameters": [*named, _choices("direction", DIRECTIONS)]}


class RuleTypes:
    """GET: the types that have an effect here; with all_rules those, too, that can only be written down"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response) -> None:
        access.authorize(self._neutron, req.ctx, "get_rule_type", {})
        every = req.bool_param("all_rules")
        resp.media = {"rule_types": [{"type": name} for name, kind in TYPES.items() if every or kind.enforced]}


class RuleTypeDetails:
    """GET of one type: who enforces it, and what its parameters may be"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, type_name: str) -> None:
        access.authorize(self._neutron, req.ctx, "get_rule_type", {})
        kind = TYPES.get(type_name)
        if kind is None:
            raise NotFound(f"Rule type {type_name[:64]} could not be found.")
        drivers = [_driver(type_name)] if kind.enforced else []
        resp.media = {"rule_type": {"type": type_name, "drivers": drivers}}


def routes(neutron: Neutron) -> dict[str, Any]:
    """The URLs of this file, but for the policies' own."""
    found: dict[str, Any] = {"/v2.0/qos/rule-types": RuleTypes(neutron),
                             "/v2.0/qos/rule-types/{type_name}": RuleTypeDetails(neutron)}
    for name in TYPES:
        found[f"/v2.0/qos/policies/{{id}}/{name}_rules"] = Rules(neutron, name)
        found[f"/v2.0/qos/policies/{{id}}/{name}_rules/{{rule_id}}"] = Rule(neutron, name)
        found[f"/v2.0/qos/alias_{name}_rules/{{rule_id}}"] = Alias(neutron, name)
    return found
