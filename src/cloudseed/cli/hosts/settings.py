"""What the processes of a cloud of many hosts are told: the control process's settings, and those of each host."""

from __future__ import annotations

import msgspec

from cloudseed.cli.hosts.places import Place
from cloudseed.cli.hosts.shape import Shape
from cloudseed.cli.hosts.topology import PROVIDER_LINK
from cloudseed.kernel.config import Config

REPORT_INTERVAL_S, SERVICE_DOWN_S = 4.0, 12.0  # a host that is gone is seen to be within 15 s
STORAGE_HOST = 1  # where volumes are


def of_control(config: Config, shape: Shape) -> Config:
    """The control process: every service's API, and no host's part."""
    return msgspec.structs.replace(
        config,
        services="control",
        host="controller",
        database=shape.database_url,
        broker=shape.broker_url("127.0.0.1"),
        listen=[f"{shape.controller}:{config.port}"],
        underlay_address=shape.controller,
        external_cidr=shape.provider,
        report_interval_s=REPORT_INTERVAL_S,
        service_down_s=SERVICE_DOWN_S,
    )


def of_host(config: Config, shape: Shape, host: Place) -> Config:
    """A host's agent process: no database, the broker and the API by the underlay."""
    roles = ("compute", "network", *(("storage",) if host.number == STORAGE_HOST else ()))
    return msgspec.structs.replace(
        config,
        state=str(host.state),
        name=host.cloud,
        host=host.name,
        services=",".join(roles),
        address=host.address,
        database="",
        listen=[],
        broker=shape.broker_url(shape.controller),
        controller=f"http://{shape.controller}:{config.port}",
        underlay_address=host.address,
        provider_interface=PROVIDER_LINK,
        machine_shares=shape.count,
        report_interval_s=REPORT_INTERVAL_S,
        service_down_s=SERVICE_DOWN_S,
    )
