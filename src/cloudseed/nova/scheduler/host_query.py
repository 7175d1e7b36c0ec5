"""The hint `query`: a condition on hosts in JSON, as upstream's JsonFilter reads it; and `build_near_host_ip`.

    [">=", "$free_ram_mb", 1024]      ["and", ["=", "$host", "one"], ["not", ["in", "$hypervisor_type", "fake"]]]

A text that begins with `$` is a variable of the host.  What upstream's scheduler keeps of a host and this one does
not (its load, its servers) is refused with the order, where upstream would quietly find it never true.  Pure.
"""

from __future__ import annotations

import ipaddress
import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

from cloudseed.kernel.errors import Invalid

VARIABLES = ("free_ram_mb", "free_disk_mb", "host", "hypervisor_hostname", "hypervisor_type")
MAX_DEPTH, MAX_CHARACTERS = 8, 4096
Query = list[Any]


def _compare(holds: Callable[[Any, Any], bool]) -> Callable[[list[Any]], bool]:
    """The first of the arguments against each other one; texts and numbers are not compared."""
    def check(values: list[Any]) -> bool:
        try:
            return len(values) > 1 and all(holds(values[0], other) for other in values[1:])
        except TypeError:
            return False

    return check


OPERATORS: Mapping[str, Callable[[list[Any]], bool]] = {
    "=": _compare(operator.eq), "<": _compare(operator.lt), ">": _compare(operator.gt), "<=": _compare(operator.le),
    ">=": _compare(operator.ge), "in": lambda values: bool(values) and values[0] in values[1:],
    "not": lambda values: any(not value for value in values), "or": any, "and": all}


def parse(given: Any) -> Query:
    """The hint's value, a JSON text or the list itself, checked; empty for one that asks nothing.  Raises Invalid."""
    if isinstance(given, str) and len(given) <= MAX_CHARACTERS:
        try:
            given = json.loads(given) if given else []
        except (ValueError, RecursionError):
            raise _refused("it is not JSON") from None
    if not isinstance(given, list):
        raise _refused("it must be a list in JSON: an operator and its arguments")
    if given:
        _check(given, 1)
    return given


def _check(query: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _refused(f"it is nested deeper than {MAX_DEPTH}")
    if not query or not isinstance(query[0], str) or query[0] not in OPERATORS:
        raise _refused(f"each list begins with an operator: {', '.join(OPERATORS)}")
    for argument in query[1:]:
        if isinstance(argument, list):
            _check(argument, depth + 1)
        elif isinstance(argument, str) and argument.startswith("$"):
            if argument[1:] not in VARIABLES:
                raise _refused(f"{argument[:64]} is not known of hosts here; these are: "
                               f"{', '.join(f'${name}' for name in VARIABLES)}")
        elif not isinstance(argument, str | int | float | bool):
            raise _refused("arguments are texts, numbers and lists")


def _refused(reason: str) -> Invalid:
    return Invalid(f"Invalid input for field/attribute query. The scheduler hint cannot be followed: {reason}.")


def holds(query: Query, host: Mapping[str, Any]) -> bool:
    """Whether the host, by its variables, is one that `query` (of `parse`) asks for."""
    return not query or OPERATORS[query[0]]([
        holds(argument, host) if isinstance(argument, list) else
        host[argument[1:]] if isinstance(argument, str) and argument.startswith("$") else argument
        for argument in query[1:]])


def near(hints: Mapping[str, Any]) -> str | None:
    """The network that `build_near_host_ip` and `cidr` (by default /24) name.  Raises Invalid."""
    address, prefix = hints.get("build_near_host_ip"), hints.get("cidr", "/24")
    if address is None:
        return None
    try:
        if not isinstance(address, str) or not isinstance(prefix, str) or not prefix.startswith("/"):
            raise ValueError
        return str(ipaddress.ip_network(f"{address}{prefix}", strict=False))
    except ValueError:
        raise Invalid("Invalid input for field/attribute build_near_host_ip. It must be an IP address, and cidr a "
                      "slash with the length of a prefix of it.") from None


def is_near(network: str, address: str) -> bool:
    """Whether a host's address is of the network; an unknown one is not."""
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return False
