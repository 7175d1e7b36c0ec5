"""Networks of a host: their wishes, and what became of them."""

from __future__ import annotations

from typing import Literal

from cloudseed.host.records.base import Record


class HostRoute(Record, frozen=True, kw_only=True):
    """A static route that DHCP hands to guests (option 121)."""

    destination: str  # CIDR
    nexthop: str  # address


class SubnetWish(Record, frozen=True, kw_only=True):
    """One subnet of a network, as DHCP must present it.  `ipv6_address_mode` is neutron's."""

    subnet_id: str
    cidr: str
    gateway_ip: str | None = None
    dns_nameservers: list[str] = []
    host_routes: list[HostRoute] = []
    enable_dhcp: bool = True
    ipv6_address_mode: Literal["slaac", "dhcpv6-stateless", "dhcpv6-stateful"] | None = None


class FixedIp(Record, frozen=True, kw_only=True):
    """An address of a port on one subnet."""

    subnet_id: str
    ip_address: str


class AddressPair(Record, frozen=True, kw_only=True):
    """Another source (address or CIDR, and MAC; the port's own MAC when null) that a port may send from."""

    ip_address: str
    mac_address: str | None = None


class RuleWish(Record, frozen=True, kw_only=True):
    """One security group rule, resolved: remote groups are already lists of addresses.

    `protocol` is null (any), a name (tcp, udp, icmp, icmpv6, ...) or a number as text.  For ICMP the type and
    code are in `port_range_min` and `port_range_max`, as in neutron's API.  `remote_cidrs` null means any
    address; an empty list means no address at all (a remote group without members).
    """

    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"] = "IPv4"
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_cidrs: list[str] | None = None


class DhcpOption(Record, frozen=True, kw_only=True):
    """What DHCP shall tell one port besides: a name that dnsmasq knows or a number, and its value."""

    name: str
    value: str
    ip_version: Literal[4, 6] = 4


class BandwidthWish(Record, frozen=True, kw_only=True):
    """So many kbit/s, and so many kbit at once beyond them (0: what serves TCP)."""

    kbps: int
    burst_kbit: int = 0


class PacketRateWish(Record, frozen=True, kw_only=True):
    """So many packets a second, and so many at once beyond them (0: what serves TCP)."""

    pps: int
    burst: int = 0


class QosWish(Record, frozen=True, kw_only=True):
    """What limits a port, seen from its machine: `egress` is what the machine sends.  Null: no limit.

    `dscp_mark` (0 to 63) is written into what the machine sends.
    """

    egress: BandwidthWish | None = None
    ingress: BandwidthWish | None = None
    egress_packets: PacketRateWish | None = None
    ingress_packets: PacketRateWish | None = None
    dscp_mark: int | None = None


class PortWish(Record, frozen=True, kw_only=True):
    """One port of a network.  Every port is known to DHCP; one that is `local` also gets a tap and its rules.

    `admin_state_up` false keeps the tap but passes no frame.  Without `port_security_enabled` the port has
    neither anti-spoofing nor rules.  `device_id` is informational.
    """

    port_id: str
    mac_address: str
    fixed_ips: list[FixedIp] = []
    hostname: str | None = None
    device_id: str = ""
    local: bool = False
    admin_state_up: bool = True
    port_security_enabled: bool = True
    allowed_address_pairs: list[AddressPair] = []
    rules: list[RuleWish] = []
    dhcp_options: list[DhcpOption] = []
    stateful: bool = True  # false: rules look at each packet alone, and replies need rules of their own
    qos: QosWish | None = None


class DhcpPort(Record, frozen=True, kw_only=True):
    """The address under which DHCP, DNS and metadata answer in a network."""

    port_id: str
    mac_address: str
    fixed_ips: list[FixedIp]


class RemoteEnd(Record, frozen=True, kw_only=True):
    """A port of the network on another host, a guest's, DHCP's or a router's; `underlay` is that host's address."""

    mac_address: str
    ip_addresses: list[str] = []
    underlay: str
    router: bool = False


class ExternalWish(Record, frozen=True, kw_only=True):
    """The host's own end of an external network: the subnets' gateway addresses as `ip/prefix`."""

    addresses: list[str]


class NetworkWish(Record, frozen=True, kw_only=True):
    """All that one network needs on this host: a namespace with a bridge, taps, DHCP and a firewall."""

    network_id: str
    mtu: int = 1500
    subnets: list[SubnetWish] = []
    dhcp_port: DhcpPort | None = None  # null: no DHCP here
    ports: list[PortWish] = []
    dns_domain: str = "openstacklocal"
    dhcp_lease_s: int = 86400
    legs: list[str] = []  # ids of routers' ports that are wired here (see RouterWish)
    external: ExternalWish | None = None  # null: the host itself has no part in it
    segmentation_id: int | None = None  # VXLAN id by which hosts share the network; null: it is this host's alone
    remotes: list[RemoteEnd] = []  # a port that is local too counts as remote: its guest runs there still


class PortStatus(Record, frozen=True, kw_only=True):
    """What became of one local port: `up` when its tap is plugged, ruled and allowed to pass frames.

    It does not wait for the guest: a tap without a running machine is up.  `reason` says why not.
    """

    port_id: str
    up: bool
    reason: str = ""


class NetworkStatus(Record, frozen=True, kw_only=True):
    """What became of one network; `error` is empty, or what failed (its ports are then not up).

    `changed` is false when everything was already as wished.
    """

    network_id: str
    changed: bool
    error: str = ""
