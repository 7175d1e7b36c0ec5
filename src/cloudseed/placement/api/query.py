"""Placement's small languages in query strings: resources, traits and aggregates, as each microversion has them."""

from __future__ import annotations

from typing import NamedTuple

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.microversion import Version
from cloudseed.placement.api.wire import Query, normal_uuid

_FORM = "Expected resources query string parameter in form: ?resources=VCPU:2,MEMORY_MB:1024."


class Wanted(NamedTuple):
    """Any one of each set in `required`, and none of `forbidden`."""

    required: tuple[frozenset[str], ...]
    forbidden: frozenset[str]


def resources(text: str) -> dict[str, int]:
    """"VCPU:2,MEMORY_MB:1024" as class -> amount.  Raises Invalid."""
    if not text.strip():
        raise Invalid(f"Badly formed resources parameter. {_FORM} Got: empty string.")
    found: dict[str, int] = {}
    for item in text.split(","):
        name, colon, amount = item.partition(":")
        if not colon or ":" in amount:
            raise Invalid(f"Badly formed resources parameter. {_FORM} Got: {item[:100]}.")
        try:
            number = int(amount)
        except ValueError:
            raise Invalid(f"Requested resource {name[:100]} expected positive integer amount. "
                          f"Got: {amount[:100]}.") from None
        if number < 1:
            raise Invalid(f"Requested resource {name[:100]} requires amount >= 1. Got: {number}.")
        found[name] = number
    return found


def traits(query: Query, name: str, version: Version) -> Wanted:
    """All values of the parameter `name` together; before 1.39, the last one.  Raises Invalid."""
    values = query.all(name)
    if version < (1, 39):
        values = values[-1:]
    required: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values:
        if value.startswith("in:"):
            if version < (1, 39):
                raise _bad_traits("The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' only supported since microversion "
                                  f"1.39. Got: {value[:200]}")
            required.append(_any_trait(value))
            continue
        for text in (item.strip() for item in value.split(",")):
            bare = text.lstrip("!")
            if not bare:
                raise _bad_traits(f"Expected 'required' parameter value of the form: HW_CPU_X86_VMX,"
                                  f"{'!' if version >= (1, 22) else ''}CUSTOM_MAGIC. Got: {value[:200]}")
            if bare == text:
                required.append(frozenset([text]))
            elif version >= (1, 22):
                forbidden.add(bare)
            else:
                raise _bad_traits("Expected 'required' parameter value of the form: HW_CPU_X86_VMX,CUSTOM_MAGIC. "
                                  f"Got: {value[:200]}")
    return Wanted(tuple(required), frozenset(forbidden))


def _any_trait(value: str) -> frozenset[str]:
    names = [item.strip() for item in value.removeprefix("in:").split(",")]
    if not all(names):
        raise _bad_traits("Expected 'required' parameter value of the form: in:HW_CPU_X86_VMX,CUSTOM_MAGIC. "
                          f"Got an empty trait in: {value[:200]}")
    if any(name.startswith("!") for name in names):
        raise _bad_traits("The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' does not support forbidden traits. "
                          f"Got: {value[:200]}")
    return frozenset(names)


def _bad_traits(reason: str) -> Invalid:
    return Invalid(f"Invalid query string parameters: {reason}")


def aggregates(query: Query, name: str, version: Version) -> Wanted:
    """All `member_of` values: repeated from 1.24, forbidden ones from 1.32.  Raises Invalid."""
    values = query.all(name)
    if len(values) > 1 and version < (1, 24):
        raise Invalid(f"Multiple {name} parameters are not supported")
    required: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values:
        bare = value.removeprefix("!")
        if "," in value and not bare.startswith("in:"):
            raise Invalid("Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using "
                          f"the valid microversion. Got: {value[:200]}")
        uuids = set()
        for text in bare.removeprefix("in:").split(","):
            uuid = normal_uuid(text)
            if uuid is None:
                raise Invalid("Invalid query string parameters: Expected 'member_of' parameter to contain valid "
                              f"UUID(s). Got: {text[:100]}")
            uuids.add(uuid)
        if bare == value:
            required.append(frozenset(uuids))
        elif version >= (1, 32):
            forbidden |= uuids
        else:
            raise Invalid(f"Forbidden {name} parameters are not supported in the specified microversion")
    return Wanted(tuple(required), frozenset(forbidden))
