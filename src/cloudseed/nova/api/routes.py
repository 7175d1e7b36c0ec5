"""Nova's URL table: URI template -> resource object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cloudseed.nova.api.servers as servers
from cloudseed.nova.api import (
    flavor_access,
    flavor_extra_specs,
    flavors,
    instance_actions,
    key_pairs,
    server_actions,
    server_details,
    server_external_events,
    server_metadata,
    server_network,
    server_tags,
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
        "/v2.1/servers/{server_id}/metadata": server_metadata.ServerMetadata(nova),
        "/v2.1/servers/{server_id}/metadata/{key}": server_metadata.ServerMetadataItem(nova),
        "/v2.1/servers/{server_id}/tags": server_tags.ServerTags(nova),
        "/v2.1/servers/{server_id}/tags/{tag}": server_tags.ServerTag(nova),
        "/v2.1/servers/{server_id}/ips": server_network.ServerIps(nova),
        "/v2.1/servers/{server_id}/ips/{label}": server_network.ServerNetworkIps(nova),
        "/v2.1/servers/{server_id}/os-interface": server_network.ServerInterfaces(nova),
        "/v2.1/servers/{server_id}/os-interface/{port_id}": server_network.ServerInterface(nova),
        "/v2.1/servers/{server_id}/os-security-groups": server_network.ServerSecurityGroups(nova),
        "/v2.1/servers/{server_id}/os-instance-actions": instance_actions.InstanceActions(nova),
        "/v2.1/servers/{server_id}/os-instance-actions/{request_id}": instance_actions.InstanceAction(nova),
        "/v2.1/servers/{server_id}/os-volume_attachments": server_details.VolumeAttachments(nova),
        "/v2.1/servers/{server_id}/os-volume_attachments/{volume_id}": server_details.VolumeAttachment(nova),
        "/v2.1/servers/{server_id}/diagnostics": server_details.Diagnostics(nova),
        "/v2.1/servers/{server_id}/topology": server_details.Topology(nova),
        "/v2.1/servers/{server_id}/os-server-password": server_details.Password(nova),
        "/v2.1/servers/{server_id}/migrations": server_details.ServerMigrations(nova),
        "/v2.1/servers/{server_id}/migrations/{migration_id}": server_details.ServerMigration(nova),
        "/v2.1/servers/{server_id}/shares": server_details.Shares(nova),
        "/v2.1/os-migrations": server_details.Migrations(nova),
        "/v2.1/os-keypairs": key_pairs.KeyPairs(nova),
        "/v2.1/os-keypairs/{name}": key_pairs.KeyPair(nova),
        "/v2.1/os-server-external-events": server_external_events.ServerExternalEvents(nova),
    }
