"""The services' types in the catalogue, where each is served, and its part's name in flows; and the bus's topics."""

from __future__ import annotations

from collections.abc import Mapping

# service type -> (prefix, name in flows)
SERVICE_TYPES: Mapping[str, tuple[str, str]] = {
    "identity": ("/identity", "keystone"),
    "image": ("/image", "glance-api"),
    "compute": ("/compute", "nova-api"),
    "placement": ("/placement", "placement-api"),
    "network": ("/networking", "neutron-server"),
    "volume": ("/volume", "cinder-api"),
    "object-store": ("/object-store", "swift-proxy-server"),
}

# the first word of a topic -> who receives it, by their names in flows, when that is another process
TOPIC_PARTS: Mapping[str, tuple[str, ...]] = {
    "keystone": ("keystone",),
    "token-cache": ("token-cache",),
    "host": ("cloudseed-audit",),
    "conductor": ("nova-conductor",),
    "scheduler": ("nova-scheduler",),
    "nova-metadata": ("nova-conductor",),
    "compute": ("nova-compute",),
    "neutron-server": ("neutron-server",),
    "neutron-agent": ("neutron-l2-agent", "neutron-dhcp-agent", "neutron-l3-agent"),
    "cinder-api": ("cinder-api",),
    "cinder-scheduler": ("cinder-scheduler",),
    "cinder-volume": ("cinder-volume",),
    "cinder-backup": ("cinder-backup",),
}


def parts_of_topic(topic: str) -> list[str]:
    """Who listens on `topic` somewhere: `compute.host-1` -> nova-compute; the topic itself when it is not ours."""
    return list(TOPIC_PARTS.get(topic.partition(".")[0], (topic,)))
