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

# alias=name: what upstream lists since extensions cannot be switched off, whatever became of them
_LISTED = """
    NMN=Multinic OS-DCF=DiskConfig OS-EXT-AZ=ExtendedAvailabilityZone OS-EXT-IMG-SIZE=ImageSize
    OS-EXT-IPS=ExtendedIps OS-EXT-IPS-MAC=ExtendedIpsMac OS-EXT-SRV-ATTR=ExtendedServerAttributes
    OS-EXT-STS=ExtendedStatus OS-FLV-DISABLED=FlavorDisabled OS-FLV-EXT-DATA=FlavorExtraData
    OS-SCH-HNT=SchedulerHints OS-SRV-USG=ServerUsage os-access-ips=AccessIPs os-admin-actions=AdminActions
    os-admin-password=AdminPassword os-agents=Agents os-aggregates=Aggregates
    os-assisted-volume-snapshots=AssistedVolumeSnapshots os-attach-interfaces=AttachInterfaces
    os-availability-zone=AvailabilityZone os-baremetal-ext-status=BareMetalExtStatus
    os-baremetal-nodes=BareMetalNodes os-block-device-mapping=BlockDeviceMapping
    os-block-device-mapping-v2-boot=BlockDeviceMappingV2Boot os-cell-capacities=CellCapacities os-cells=Cells
    os-certificates=Certificates os-cloudpipe=Cloudpipe os-cloudpipe-update=CloudpipeUpdate
    os-config-drive=ConfigDrive os-console-auth-tokens=ConsoleAuthTokens os-console-output=ConsoleOutput
    os-consoles=Consoles os-create-backup=CreateBackup os-create-server-ext=Createserverext
    os-deferred-delete=DeferredDelete os-evacuate=Evacuate os-extended-evacuate-find-host=ExtendedEvacuateFindHost
    os-extended-floating-ips=ExtendedFloatingIps os-extended-hypervisors=ExtendedHypervisors
    os-extended-networks=ExtendedNetworks os-extended-quotas=ExtendedQuotas
    os-extended-rescue-with-image=ExtendedRescueWithImage os-extended-services=ExtendedServices
    os-extended-services-delete=ExtendedServicesDelete os-extended-status=ExtendedStatus
    os-extended-volumes=ExtendedVolumes os-fixed-ips=FixedIPs os-flavor-access=FlavorAccess
    os-flavor-extra-specs=FlavorExtraSpecs os-flavor-manage=FlavorManage os-flavor-rxtx=FlavorRxtx
    os-flavor-swap=FlavorSwap os-floating-ip-dns=FloatingIpDns os-floating-ip-pools=FloatingIpPools
    os-floating-ips=FloatingIps os-floating-ips-bulk=FloatingIpsBulk os-fping=Fping
    os-hide-server-addresses=HideServerAddresses os-hosts=Hosts os-hypervisor-status=HypervisorStatus
    os-hypervisors=Hypervisors os-instance-actions=InstanceActions
    os-instance_usage_audit_log=OSInstanceUsageAuditLog os-keypairs=Keypairs os-lock-server=LockServer
    os-migrate-server=MigrateServer os-migrations=Migrations os-multiple-create=MultipleCreate os-networks=Networks
    os-networks-associate=NetworkAssociationSupport os-pause-server=PauseServer os-personality=Personality
    os-preserve-ephemeral-rebuild=PreserveEphemeralOnRebuild os-quota-class-sets=QuotaClasses os-quota-sets=Quotas
    os-rescue=Rescue os-security-group-default-rules=SecurityGroupDefaultRules os-security-groups=SecurityGroups
    os-server-diagnostics=ServerDiagnostics os-server-external-events=ServerExternalEvents
    os-server-group-quotas=ServerGroupQuotas os-server-groups=ServerGroups
    os-server-list-multi-status=ServerListMultiStatus os-server-password=ServerPassword
    os-server-sort-keys=ServerSortKeys os-server-start-stop=ServerStartStop os-services=Services os-shelve=Shelve
    os-simple-tenant-usage=SimpleTenantUsage os-suspend-server=SuspendServer os-tenant-networks=OSTenantNetworks
    os-used-limits=UsedLimits os-used-limits-for-admin=UsedLimitsForAdmin os-user-data=UserData
    os-user-quotas=UserQuotas os-virtual-interfaces=VirtualInterfaces
    os-volume-attachment-update=VolumeAttachmentUpdate os-volumes=Volumes
"""
_EXTENSIONS = dict(pair.split("=") for pair in _LISTED.split())


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
