"""The services' types in the catalogue, where each is served, and its part's name in flows."""

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
