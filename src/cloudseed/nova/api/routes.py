"""Nova's URL table: URI template -> resource object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cloudseed.nova.api.servers as servers
from cloudseed.nova.api import (
    flavor_access,
    flavor_extra_specs,
    flavors,
    key_pairs,
    server_actions,
    server_external_events,
    versions,
)

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


def routes(nova: Nova) -> dict[str, Any]:
    """Every URL that nova answers, without its prefix."""
    return {
        "/": versions.Versions(),
        "/v2.1": versions.Version(),
        "/v2": versions.Version(),
        "/v2.1/flavors": flavors.Flavors(nova),
        "/v2.1/flavors/detail": flavors.FlavorsDetail(nova),
        "/v2.1/flavors/{flavor_id}": flavors.Flavor(nova),
        "/v2.1/flavors/{flavor_id}/action": flavor_access.FlavorAction(nova),
        "/v2.1/flavors/{flavor_id}/os-flavor-access": flavor_access.FlavorAccess(nova),
        "/v2.1/flavors/{flavor_id}/os-extra_specs": flavor_extra_specs.ExtraSpecs(nova),
        "/v2.1/flavors/{flavor_id}/os-extra_specs/{key}": flavor_extra_specs.ExtraSpec(nova),
        "/v2.1/servers": servers.Servers(nova),
        "/v2.1/servers/detail": servers.ServersDetail(nova),
        "/v2.1/servers/{server_id}": servers.Server(nova),
        "/v2.1/servers/{server_id}/action": server_actions.ServerAction(nova),
        "/v2.1/os-keypairs": key_pairs.KeyPairs(nova),
        "/v2.1/os-keypairs/{name}": key_pairs.KeyPair(nova),
        "/v2.1/os-server-external-events": server_external_events.ServerExternalEvents(nova),
    }
