"""Placement's rules, under upstream's names and with upstream's defaults.

Almost everything is for administrators and for services; a project's reader may see the project's own usage.
"""

from __future__ import annotations

from cloudseed.kernel.policy import Rule

_ADMIN_OR_SERVICE = "rule:admin_or_service_api"

_OPERATIONS = (
    "placement:resource_providers:list", "placement:resource_providers:create",
    "placement:resource_providers:show", "placement:resource_providers:update",
    "placement:resource_providers:delete",
    "placement:resource_providers:inventories:list", "placement:resource_providers:inventories:create",
    "placement:resource_providers:inventories:show", "placement:resource_providers:inventories:update",
    "placement:resource_providers:inventories:delete",
    "placement:resource_providers:aggregates:list", "placement:resource_providers:aggregates:update",
    "placement:resource_providers:traits:list", "placement:resource_providers:traits:update",
    "placement:resource_providers:traits:delete",
    "placement:resource_providers:usages", "placement:resource_providers:allocations:list",
    "placement:resource_classes:list", "placement:resource_classes:create", "placement:resource_classes:show",
    "placement:resource_classes:update", "placement:resource_classes:delete",
    "placement:traits:list", "placement:traits:show", "placement:traits:update", "placement:traits:delete",
    "placement:allocations:list", "placement:allocations:manage", "placement:allocations:update",
    "placement:allocations:delete", "placement:allocation_candidates:list",
)

RULES = [
    Rule("admin_api", "role:admin"),
    Rule("service_api", "role:service"),
    Rule("admin_or_service_api", "role:admin or role:service"),
    Rule("project_reader_api", "role:reader and project_id:%(project_id)s"),
    Rule("admin_or_project_reader_or_service_api", "role:admin or rule:project_reader_api or role:service"),
    *(Rule(name, _ADMIN_OR_SERVICE) for name in _OPERATIONS),
    Rule("placement:usages", "rule:admin_or_project_reader_or_service_api"),
    Rule("placement:reshaper:reshape", "rule:service_api"),
]
