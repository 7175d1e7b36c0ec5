"""What a guest reads, in each format and version; pure."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.network_info import network_info
from cloudseed.nova.compute.spec import ServerSpec
from cloudseed.nova.metadata import documents, ec2
from cloudseed.nova.metadata.documents import Guest, network_data
from cloudseed.nova.metadata.tree import NothingThere, config_drive, look_up, path_of

PORT = {"id": "p1", "network_id": "n1", "mac_address": "fa:16:3e:00:00:01", "status": "ACTIVE",
        "binding:vif_type": "bridge", "fixed_ips": [{"subnet_id": "s1", "ip_address": "10.0.0.5"},
                                                    {"subnet_id": "s6", "ip_address": "fd00::5"}]}
SUBNETS: list[dict[str, Any]] = [
    {"id": "s1", "cidr": "10.0.0.0/24", "ip_version": 4, "gateway_ip": "10.0.0.1", "dns_nameservers": ["9.9.9.9"],
     "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]},
    {"id": "s6", "cidr": "fd00::/64", "ip_version": 6, "gateway_ip": None}]
SEED = b"\x01\x02"
TODAY = "2026-11-22"


def vifs(dhcp: bool, **six: Any) -> list[dict[str, Any]]:
    servers = [{"fixed_ips": [{"subnet_id": "s1", "ip_address": "10.0.0.2"}]}] if dhcp else []
    return network_info([], [PORT], {"n1": {"name": "net", "mtu": 1450}}, [SUBNETS[0], {**SUBNETS[1], **six}], servers,
                        [])


def guest(**fields: Any) -> Guest:
    spec = ServerSpec(**{
        "id": "11111111-2222-4333-8444-555555555555", "name": "vm", "hostname": "vm-host", "project_id": "p",
        "user_id": "u", "vcpus": 1, "memory_mib": 1, "root_gib": 1, "key_name": "k", "key_data": "ssh-ed25519 AAAA",
        "metadata": {"role": "web"}, "user_data": base64.b64encode(b"#!/bin/sh\necho hi\n").decode(),
        "personality": [{"path": "/etc/motd", "contents": base64.b64encode(b"hello").decode()}],
        "flavor_name": "c1", "reservation_id": "r-abc", "image_id": "99999999-2222-4333-8444-555555555555",
        "security_groups": ["default", "web"], **fields})
    return Guest(spec=spec, vifs=vifs(dhcp=True), vendor={"cloud": "ours"})


def read(path: str, **fields: Any) -> str:
    return look_up(guest(**fields), path_of(path), SEED, TODAY)[0].decode()


def test_network_data_with_dhcp_and_static() -> None:
    with_dhcp = network_data(vifs(dhcp=True))
    assert [n["type"] for n in with_dhcp["networks"]] == ["ipv4_dhcp", "ipv6"]
    assert [n["id"] for n in with_dhcp["networks"]] == ["network0", "network1"]
    assert with_dhcp["links"][0] == {"id": "tapp1", "vif_id": "p1", "type": "bridge", "mtu": None,
                                     "ethernet_mac_address": "fa:16:3e:00:00:01"}
    static = network_data(vifs(dhcp=False))
    four = static["networks"][0]
    assert static["links"][0]["mtu"] == 1450
    assert (four["ip_address"], four["netmask"]) == ("10.0.0.5", "255.255.255.0")
    assert {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"} in four["routes"]
    assert {"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.9"} in four["routes"]
    assert static["services"] == [{"type": "dns", "address": "9.9.9.9"}]


def test_network_data_names_how_ipv6_addresses_come() -> None:
    modes = [network_data(vifs(dhcp=True, ipv6_address_mode=mode))["networks"][1]["type"]
             for mode in ("slaac", "dhcpv6-stateful")]
    assert modes == ["ipv6_slaac", "ipv6_dhcpv6-stateful"]


def test_each_openstack_version_has_what_it_had() -> None:
    assert read("/openstack").split() == [*documents.VERSIONS, "latest"]
    assert "2025-04-04" not in look_up(guest(), ["openstack"], SEED, "2025-04-03")[0].decode()
    assert read("/openstack/2012-08-10/").split() == ["meta_data.json", "user_data"]
    assert read("/openstack/latest").split() == [
        "meta_data.json", "user_data", "password", "vendor_data.json", "network_data.json", "vendor_data2.json"]
    assert "user_data" not in read("/openstack/latest", user_data=None).split()
    old, new = (json.loads(read(f"/openstack/{v}/meta_data.json")) for v in ("2012-08-10", "latest"))
    assert new.keys() - old.keys() == {"random_seed", "project_id", "devices", "dedicated_cpus"}
    assert base64.b64decode(new["random_seed"]) == SEED and new["meta"] == {"role": "web"}
    assert new["keys"] == [{"name": "k", "type": "ssh", "data": "ssh-ed25519 AAAA"}]
    assert json.loads(read("/openstack/latest/vendor_data.json")) == {"cloud": "ours"}
    assert json.loads(read("/openstack/latest/vendor_data2.json")) == {"static": {"cloud": "ours"}}
    assert read("/openstack/latest/user_data") == "#!/bin/sh\necho hi\n"
    assert read(f"/openstack{new['files'][0]['content_path']}") == "hello"


def test_the_ec2_tree() -> None:
    assert read("/") == read("/ec2") == "\n".join([*ec2.VERSIONS, "latest"])
    assert read("/latest").split() == ["meta-data/", "user-data"]
    assert read("/latest/user-data") == "#!/bin/sh\necho hi\n"
    listing = read("/latest/meta-data/").split("\n")
    assert listing == sorted(listing) and {"public-keys/", "placement/", "block-device-mapping/"} <= set(listing)
    assert "instance-action" not in read("/2008-02-01/meta-data").split()
    assert "local-hostname" not in read("/1.0/meta-data/").split()
    assert read("/latest/meta-data/public-keys/") == "0=k"
    assert read("/latest/meta-data/public-keys/0") == "openssh-key"
    assert read("/2009-04-04/meta-data/public-keys/0/openssh-key") == "ssh-ed25519 AAAA"
    assert read("/latest/meta-data/instance-id") == "i-11111111"
    assert read("/latest/meta-data/local-ipv4") == "10.0.0.5" and read("/latest/meta-data/public-ipv4") == ""
    assert read("/latest/meta-data/security-groups") == "default\nweb"
    assert read("/latest/meta-data/placement/availability-zone") == "nova"
    mapping = {name: read(f"/latest/meta-data/block-device-mapping/{name}", ephemeral_gib=1, swap_mib=1)
               for name in ("ami", "root", "ephemeral0", "swap")}
    volumes = [BlockDevice(source_type="volume", destination_type="volume", device_name="/dev/vde", volume_id="v1",
                           tag="data"),
               BlockDevice(source_type="volume", destination_type="volume", device_name="/dev/vdd", volume_id="v2")]
    assert read("/latest/meta-data/block-device-mapping", block_devices=volumes).split() == [
        "ami", "ebs0", "ebs1", "root"]
    assert read("/latest/meta-data/block-device-mapping/ebs0", block_devices=volumes) == "/dev/vdd"
    devices = json.loads(read("/openstack/latest/meta_data.json", block_devices=volumes))["devices"]
    assert devices == [{"type": "disk", "serial": "v1", "path": "/dev/vde", "bus": "none", "address": "none",
                        "tags": ["data"]}]
    assert mapping == {"ami": "vda", "root": "/dev/vda", "ephemeral0": "/dev/vdb", "swap": "/dev/vdc"}


@pytest.mark.parametrize("path", [
    "/nothing", "/3000-01-01/meta-data", "/latest/meta-data/nothing", "/latest/meta-data/hostname/more",
    "/openstack/2000-01-01", "/openstack/latest/nothing", "/openstack/latest/meta_data.json/more", "/openstack/content",
    "/openstack/content/0001", "/openstack/2012-08-10/vendor_data.json", "/openstack/2013-10-17/network_data.json",
    "/latest/meta-data/public-keys/0/_name/x", "/latest/api/token"])
def test_nothing_is_there(path: str) -> None:
    with pytest.raises(NothingThere):
        read(path)


@pytest.mark.parametrize("path", ["/openstack/../latest/meta-data", "//latest//meta-data/", "/ec2/latest/meta-data",
                                  "/../../latest/./meta-data"])
def test_a_path_is_read_as_it_is_meant(path: str) -> None:
    assert path_of(path) == ["ec2", "latest", "meta-data"]


def test_the_config_drive_holds_what_the_service_tells() -> None:
    made = guest()
    files = config_drive(made, SEED)
    for path, content in files.items():
        if not path.endswith("meta-data.json"):
            assert look_up(made, path_of(path), SEED, TODAY)[0] == content, path
    assert {"openstack/2012-08-10/meta_data.json", "openstack/latest/network_data.json", "ec2/1.0/meta-data.json",
            "ec2/latest/user-data", "openstack/content/0000"} <= files.keys()
    meta = json.loads(files["ec2/latest/meta-data.json"])
    assert meta["public-keys"] == {"0": {"openssh-key": "ssh-ed25519 AAAA"}}


def test_tagged_interfaces_are_named() -> None:
    (vif,) = vifs(dhcp=True)
    told = Guest(spec=guest().spec, vifs=[{**vif, "tag": "outside"}])
    (nic,) = json.loads(look_up(told, ["openstack", "latest", "meta_data.json"], SEED, TODAY)[0])["devices"]
    assert nic == {"type": "nic", "mac": "fa:16:3e:00:00:01", "bus": "none", "address": "none", "tags": ["outside"],
                   "vf_trusted": False}
    old = json.loads(look_up(told, ["openstack", "2016-06-30", "meta_data.json"], SEED, TODAY)[0])
    assert "vf_trusted" not in old["devices"][0]


def test_the_password_is_on_the_config_drive_only() -> None:
    told = Guest(spec=guest().spec, vifs=[], admin_password="s3cret")
    assert json.loads(config_drive(told, SEED)["openstack/latest/meta_data.json"])["admin_pass"] == "s3cret"
    assert "admin_pass" not in json.loads(read("/openstack/latest/meta_data.json"))
