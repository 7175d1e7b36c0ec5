"""URLs that upstream has taken away (410 for ever), and its list of extensions, which stayed for old clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova.errors import MovedAway

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Gone:
    """Every method answers 410."""

    async def on_get(self, req: Request, resp: Response, **ids: str) -> None:
        raise MovedAway()

    on_post = on_put = on_delete = on_get


class GoneWrites:
    """What could be changed there no longer can."""

    async def on_post(self, req: Request, resp: Response, **ids: str) -> None:
        raise MovedAway()

    on_delete = on_post


PATHS = ("/os-agents", "/os-agents/{id}", "/os-cells", "/os-cells/{id}", "/os-cells/{id}/capacities",
         "/os-certificates", "/os-certificates/{id}", "/os-cloudpipe", "/os-cloudpipe/{id}", "/os-fping",
         "/os-fping/{id}", "/os-floating-ip-dns", "/os-floating-ip-dns/{id}",
         "/os-floating-ip-dns/{id}/entries/{entry}", "/os-floating-ips-bulk", "/os-floating-ips-bulk/{id}",
         "/os-security-group-default-rules", "/os-security-group-default-rules/{id}",
         "/os-fixed-ips/{id}", "/servers/{server_id}/consoles", "/servers/{server_id}/consoles/{id}")
WRITES = ("/os-networks", "/os-networks/{id}", "/os-tenant-networks", "/os-tenant-networks/{id}")

# the extensions whose behaviour is here, by alias
_EXTENSIONS = {
    "NMN": "Multinic", "OS-DCF": "DiskConfig", "OS-EXT-AZ": "ExtendedAvailabilityZone",
    "OS-EXT-IPS": "ExtendedIps", "OS-EXT-IPS-MAC": "ExtendedIpsMac", "OS-EXT-SRV-ATTR": "ExtendedServerAttributes",
    "OS-EXT-STS": "ExtendedStatus", "OS-FLV-DISABLED": "FlavorDisabled", "OS-FLV-EXT-DATA": "FlavorExtraData",
    "OS-SCH-HNT": "SchedulerHints", "OS-SRV-USG": "ServerUsage", "os-aggregates": "Aggregates",
    "os-attach-interfaces": "AttachInterfaces", "os-availability-zone": "AvailabilityZone",
    "os-console-output": "ConsoleOutput", "os-extended-services": "ExtendedServices", "os-flavor-access":
    "FlavorAccess", "os-flavor-extra-specs": "FlavorExtraSpecs", "os-flavor-manage": "FlavorManage",
    "os-hypervisors": "Hypervisors", "os-instance-actions": "InstanceActions", "os-keypairs": "Keypairs",
    "os-migrations": "Migrations", "os-quota-class-sets": "QuotaClasses", "os-quota-sets": "Quotas",
    "os-security-groups": "SecurityGroups", "os-server-diagnostics": "ServerDiagnostics",
    "os-server-external-events": "ServerExternalEvents", "os-server-groups": "ServerGroups",
    "os-server-password": "ServerPassword", "os-services": "Services", "os-simple-tenant-usage": "SimpleTenantUsage",
    "os-used-limits": "UsedLimits", "os-user-data": "UserData", "os-volumes": "Volumes"}


def _view(alias: str) -> dict[str, Any]:
    return {"alias": alias, "name": _EXTENSIONS[alias], "description": f"{_EXTENSIONS[alias]}.", "links": [],
            "namespace": "http://docs.openstack.org/compute/ext/fake_xml", "updated": "2014-12-03T00:00:00Z"}


class Extensions:
    """/v2.1/extensions"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response) -> None:
        self.nova.policy.enforce("os_compute_api:extensions", req.ctx.identity)
        resp.media = {"extensions": [_view(alias) for alias in _EXTENSIONS]}


class Extension:
    """/v2.1/extensions/{alias}"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, alias: str) -> None:
        self.nova.policy.enforce("os_compute_api:extensions", req.ctx.identity)
        if alias not in _EXTENSIONS:
            raise NotFound(f"Extension {alias} was not found.")
        resp.media = {"extension": _view(alias)}
