"""What POST and PUT of a server may hold, by microversion, and its way into a `ServerOrder`."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Any, Literal

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.request import Request
from cloudseed.nova.api.block_device_bodies import LegacyMapping, Mapping, read_devices
from cloudseed.nova.api.body import (
    MAX_INT,
    check_name,
    check_range,
    check_text,
    convert,
    is_printable,
    is_uuid,
    read_whole,
    shown,
)
from cloudseed.nova.scheduler import host_query
from cloudseed.nova.server_create import ServerOrder

HINTS = ("os:scheduler_hints", "OS-SCH-HNT:scheduler_hints")
BODY_LIMIT = 512 * 1024  # user data of 65535 characters and files fit
_KEY = re.compile(r"^[a-zA-Z0-9-_:. ]{1,255}\Z")
_HOSTNAME = re.compile(r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\Z")
_TAG = re.compile(r"^[^,/]{1,60}\Z")

ADDED = {"description": (2, 19), "tags": (2, 52), "trusted_image_certificates": (2, 63), "host": (2, 74),
         "hypervisor_hostname": (2, 74), "hostname": (2, 90)}
REMOVED = {"personality": (2, 57)}


class NetworkOrder(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One item of `networks`."""

    uuid: str | None = None
    port: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None

    def __post_init__(self) -> None:
        for what, value in (("uuid", self.uuid), ("port", self.port)):
            if value is not None and not is_uuid(value):
                raise ValueError(f"Invalid input for field/attribute {what}. Value: {shown(value)}. {shown(value)} is "
                                 "not a 'uuid'")
        if self.uuid is None and self.port is None:
            raise ValueError("Invalid input for field/attribute networks. Each needs a uuid or a port")
        if self.fixed_ip is not None:
            check_address(self.fixed_ip, "fixed_ip")
        if self.tag is not None and not _TAG.match(self.tag):
            raise ValueError("Invalid input for field/attribute tag. It must have 1 to 60 characters, no comma "
                             "or slash")


class File(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    contents: str

    def __post_init__(self) -> None:
        check_name(self.path, "path")
        check_base64(self.contents, "contents")


class Group(msgspec.Struct):
    name: str

    def __post_init__(self) -> None:
        check_name(self.name, "name")


class NewServer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """POST /servers"""

    name: str
    flavor: str | int = msgspec.field(name="flavorRef")
    image: str | None = msgspec.field(name="imageRef", default=None)
    networks: list[NetworkOrder] | str | None = None
    key_name: str | None = None
    user_data: str | None = None
    metadata: dict[str, str] = {}
    personality: list[File] = []
    config_drive: bool | None = None
    min_count: int = 1
    max_count: int | None = None
    return_reservation_id: bool = False
    security_groups: list[Group] = []
    availability_zone: str | None = None
    description: str | None = None
    tags: list[str] = []
    hostname: str | None = None
    host: str | None = None
    hypervisor_hostname: str | None = None
    trusted_image_certificates: list[str] | None = None
    admin_password: str | None = msgspec.field(name="adminPass", default=None)
    disk_config: Literal["AUTO", "MANUAL"] = msgspec.field(name="OS-DCF:diskConfig", default="MANUAL")
    access_ip_v4: str | None = msgspec.field(name="accessIPv4", default=None)
    access_ip_v6: str | None = msgspec.field(name="accessIPv6", default=None)
    block_device_mapping: list[LegacyMapping] | None = None
    block_device_mapping_v2: list[Mapping] | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        check_reference(self.flavor, "flavorRef")
        if self.image and not is_uuid(self.image.rpartition("/")[2]):
            raise ValueError(f"Invalid input for field/attribute imageRef. Value: {shown(self.image)}. "
                             f"{shown(self.image)} is not a 'uuid'")
        if isinstance(self.networks, str) and self.networks not in ("auto", "none"):
            raise ValueError(f"Invalid input for field/attribute networks. Value: {shown(self.networks)}. It must be "
                             "a list, 'auto' or 'none'")
        for what in ("key_name", "availability_zone", "host", "hypervisor_hostname"):
            value = getattr(self, what)
            if value is not None:
                check_name(value, what)
        if self.user_data is not None:
            if len(self.user_data) > 65535:
                raise ValueError("Invalid input for field/attribute user_data. It is longer than 65535 characters")
            check_base64(self.user_data, "user_data")
        check_metadata(self.metadata)
        check_range(self.min_count, "min_count", 1, MAX_INT)
        check_range(self.max_count, "max_count", 1, MAX_INT)
        check_text(self.description, "description")
        check_text(self.admin_password, "adminPass")
        check_tags(self.tags)
        for what in ("access_ip_v4", "access_ip_v6"):
            value = getattr(self, what)
            if value:
                check_address(value, what, 4 if what.endswith("4") else 6)
        if len({group.name for group in self.security_groups}) != len(self.security_groups):
            raise ValueError("Invalid input for field/attribute security_groups. It names a group twice")
        certificates = self.trusted_image_certificates
        if certificates is not None and not (1 <= len(certificates) <= 50 and all(0 < len(c) < 256
                                                                                  for c in certificates)):
            raise ValueError("Invalid input for field/attribute trusted_image_certificates. It must have 1 to 50 ids")


class ServerChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """PUT /servers/{id}"""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    hostname: str | msgspec.UnsetType = msgspec.UNSET
    pinned_availability_zone: str | msgspec.UnsetType | None = msgspec.UNSET
    disk_config: Literal["AUTO", "MANUAL"] | msgspec.UnsetType = msgspec.field(name="OS-DCF:diskConfig",
                                                                              default=msgspec.UNSET)
    access_ip_v4: str | msgspec.UnsetType = msgspec.field(name="accessIPv4", default=msgspec.UNSET)
    access_ip_v6: str | msgspec.UnsetType = msgspec.field(name="accessIPv6", default=msgspec.UNSET)

    def __post_init__(self) -> None:
        if isinstance(self.name, str):
            check_name(self.name)
        if isinstance(self.description, str):
            check_text(self.description, "description")
        for what in ("access_ip_v4", "access_ip_v6"):
            value = getattr(self, what)
            if isinstance(value, str) and value:
                check_address(value, what, 4 if what.endswith("4") else 6)


CHANGE_ADDED = {"description": (2, 19), "hostname": (2, 90), "pinned_availability_zone": (2, 104)}


# ---- checks; they raise ValueError, as Structs' own do

def check_reference(value: str | int, what: str) -> None:
    text = str(value)
    if not 1 <= len(text) <= 255 or not is_printable(text):
        raise ValueError(f"Invalid input for field/attribute {what}. Value: {shown(value)}. It must have 1 to 255 "
                         "printable characters")


def check_base64(value: str, what: str) -> None:
    try:
        base64.b64decode(re.sub(r"[\r\n\t ]", "", value), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"Invalid input for field/attribute {what}. Value: {shown(value, 40)}. It is not "
                         "a 'base64'") from None


def check_metadata(values: dict[str, str]) -> None:
    for name, value in values.items():
        if not _KEY.match(name):
            raise ValueError(f"Invalid input for field/attribute metadata. The key {shown(name)} must have 1 to 255 "
                             "letters, digits, spaces, dashes, underscores, colons and dots")
        if len(value) > 255:
            raise ValueError(f"Invalid input for field/attribute {name}. The value is longer than 255 characters")
        if "\x00" in value:
            raise ValueError(f"Invalid input for field/attribute {name}. The value holds a NUL character")


def check_tags(tags: list[str]) -> None:
    if len(tags) > 50:
        raise ValueError("Invalid input for field/attribute tags. A server has at most 50 tags")
    if len(set(tags)) != len(tags):
        raise ValueError("Invalid input for field/attribute tags. A tag is given twice")
    for tag in tags:
        check_tag(tag)


def check_tag(tag: str) -> None:
    if not _TAG.match(tag) or not is_printable(tag):
        raise ValueError(f"Invalid input for field/attribute tags. Value: {shown(tag)}. A tag has 1 to 60 characters, "
                         "no comma and no slash")


def check_address(value: str, what: str, version: int | None = None) -> None:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        address = None
    if address is None or (version and address.version != version) or "%" in value:
        kind = f"ipv{version}" if version else "ip-address"
        raise ValueError(f"Invalid input for field/attribute {what}. Value: {shown(value)}. {shown(value)} is not a "
                         f"'{kind}'")


def canonical_address(value: str | None) -> str | None:
    """A checked address as RFC 5952 writes it; an empty one is none."""
    return str(ipaddress.ip_address(value)) if value else None


def check_hostname(value: str, version: tuple[int, int]) -> None:
    """One label before 2.94, from then on a whole name is allowed."""
    labels = value.split(".") if version >= (2, 94) else [value]
    if len(value) > (255 if version >= (2, 94) else 63) or not all(_HOSTNAME.match(label) for label in labels):
        raise Invalid(f"Invalid input for field/attribute hostname. Value: {shown(value)}. It must be a host name: "
                      "letters, digits and dashes.")


# ---- from the wire to an order

async def read_order(req: Request) -> tuple[ServerOrder, bool]:
    """The order of a POST /servers, and whether the client wants a reservation id for an answer."""
    body = await read_whole(req, "server", HINTS, BODY_LIMIT)
    hints: Any = next((body[name] for name in HINTS if name in body), {})
    version = req.microversion
    networks = body["server"].get("networks") if isinstance(body["server"], dict) else None
    if version < (2, 37):
        if isinstance(networks, str):
            raise Invalid(f"Invalid input for field/attribute networks. Value: {shown(networks)}. {shown(networks)} is "
                          "not of type 'array'")
    elif isinstance(body["server"], dict) and "networks" not in body["server"]:
        raise Invalid("Invalid input for field/attribute server. 'networks' is a required property")
    new = convert(req, body, "server", NewServer, added=ADDED, removed=REMOVED)
    if not ((2, 32) <= version <= (2, 36) or version >= (2, 42)) and isinstance(new.networks, list) \
            and any(item.tag is not None for item in new.networks):
        raise Invalid("Invalid input for field/attribute networks. Additional properties are not allowed ('tag' was "
                      "unexpected)")
    maximum = new.max_count if new.max_count is not None else new.min_count
    if new.min_count > maximum:
        raise Invalid("min_count must be <= max_count")
    if new.hostname is not None:
        check_hostname(new.hostname, version)
    image_id = _image(new)
    order = ServerOrder(
        name=new.name, flavor_id=str(new.flavor).rpartition("/")[2], image_id=image_id,
        disks=read_devices(new.block_device_mapping, new.block_device_mapping_v2, image=image_id is not None,
                           version=version), multiattach=version >= (2, 60),
        networks=new.networks if not isinstance(new.networks, list) else
        [msgspec.to_builtins(_canonical(item)) for item in new.networks],
        key_name=new.key_name, user_data=new.user_data, metadata=new.metadata,
        personality=[msgspec.to_builtins(file) for file in new.personality], config_drive=bool(new.config_drive),
        min_count=new.min_count, max_count=maximum, security_groups=[group.name for group in new.security_groups],
        availability_zone=new.availability_zone, description=new.description if version >= (2, 19) else None,
        tags=new.tags, hostname=new.hostname, host=new.host, hypervisor_hostname=new.hypervisor_hostname,
        scheduler_hints=_check_hints(hints), access_ip_v4=canonical_address(new.access_ip_v4),
        access_ip_v6=canonical_address(new.access_ip_v6), admin_password=new.admin_password,
        disk_config=new.disk_config, trusted_image_certificates=new.trusted_image_certificates)
    return order, new.return_reservation_id


def _canonical(item: NetworkOrder) -> NetworkOrder:
    """Ids as neutron writes them: a port wins over the network that is named with it."""
    return NetworkOrder(uuid=_dashed(item.uuid) if not item.port else None, port=_dashed(item.port),
                        fixed_ip=item.fixed_ip, tag=item.tag)


def _dashed(value: str | None) -> str | None:
    if value is None:
        return None
    digits = value.replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _image(new: NewServer) -> str | None:
    """The image to boot from; without one there must be a block device."""
    if new.image:
        return _dashed(new.image.rpartition("/")[2])
    if not (new.block_device_mapping or new.block_device_mapping_v2):
        raise Invalid("Missing imageRef attribute")
    return None


def _check_hints(hints: Any) -> dict[str, Any]:
    if not isinstance(hints, dict) or len(hints) > 64:
        raise Invalid("Invalid input for field/attribute os:scheduler_hints. It must be an object.")
    group = hints.get("group")
    if group is not None and not (isinstance(group, str) and is_uuid(group)):
        raise Invalid(f"Invalid input for field/attribute group. Value: {shown(group)}. {shown(group)} is not a 'uuid'")
    for name in ("different_host", "same_host"):
        ids = hints.get(name, [])
        for id in ids if isinstance(ids, list) else [ids]:
            if not isinstance(id, str) or not is_uuid(id):
                raise Invalid(f"Invalid input for field/attribute {name}. Value: {shown(id)}. {shown(id)} is not a "
                              "'uuid'")
    host_query.parse(hints.get("query", []))
    host_query.near(hints)
    return hints
