"""Nova's policy rules, under upstream's names and with upstream's defaults (nova's policy reference).

Targets hold `project_id` and `user_id` of the record at hand; a rule without a record gets the caller's own.
"""

from __future__ import annotations

from cloudseed.kernel.policy import Rule

ADMIN = "rule:context_is_admin"
READER = "rule:project_reader_or_admin"
MEMBER = "rule:project_member_or_admin"
MANAGER = "rule:project_manager_or_admin"
SERVICE = "rule:service_or_admin"
ANYBODY = "@"
OWN_USER = "(rule:context_is_admin) or user_id:%(user_id)s"

_BASE = {
    "context_is_admin": "role:admin",
    "admin_or_owner": "rule:context_is_admin or project_id:%(project_id)s",
    "admin_api": "rule:context_is_admin",
    "project_manager_api": "role:manager and project_id:%(project_id)s",
    "project_member_api": "role:member and project_id:%(project_id)s",
    "project_reader_api": "role:reader and project_id:%(project_id)s",
    "service_api": "role:service",
    "project_manager_or_admin": "rule:project_manager_api or rule:context_is_admin",
    "project_member_or_admin": "rule:project_member_api or rule:context_is_admin",
    "project_reader_or_admin": "rule:project_reader_api or rule:context_is_admin",
    "service_or_admin": "rule:service_api or rule:context_is_admin",
}

# resource -> {check: actions}; the rule's name is os_compute_api:<resource>:<action>
_API: dict[str, dict[str, str]] = {
    "os-admin-actions": {ADMIN: "reset_state inject_network_info"},
    "os-aggregates": {ADMIN: "index show create update delete add_host remove_host set_metadata"},
    "os-attach-interfaces": {READER: "list show", MEMBER: "create delete"},
    "os-availability-zone": {ANYBODY: "list", ADMIN: "detail"},
    "os-deferred-delete": {MEMBER: "restore force"},
    "os-flavor-access": {ADMIN: "add_tenant_access remove_tenant_access"},
    "os-flavor-extra-specs": {READER: "index show", ADMIN: "create update delete"},
    "os-flavor-manage": {ADMIN: "create update delete"},
    "os-hypervisors": {ADMIN: "list list-detail statistics show uptime search servers"},
    "os-instance-actions": {READER: "list show", ADMIN: "events events:details"},
    "os-instance-usage-audit-log": {ADMIN: "list show"},
    "ips": {READER: "index show"},
    "os-keypairs": {OWN_USER: "index create delete show"},
    "limits": {ADMIN: "other_project"},
    "os-lock-server": {MEMBER: "lock unlock", ADMIN: "unlock:unlock_override"},
    "os-migrate-server": {MANAGER: "migrate migrate_live", ADMIN: "migrate:host migrate_live:host"},
    "os-migrations": {MANAGER: "index", ADMIN: "index:all_projects index:host"},
    "os-multinic": {MEMBER: "add remove"},
    "os-pause-server": {MEMBER: "pause unpause"},
    "os-quota-class-sets": {ADMIN: "show update"},
    "os-quota-sets": {ANYBODY: "defaults", READER: "show detail", ADMIN: "update delete"},
    "os-security-groups": {READER: "get show list",
                           MEMBER: "create update delete rule:create rule:delete add remove"},
    "os-server-external-events": {SERVICE: "create"},
    "os-server-groups": {READER: "index show", MEMBER: "create delete", ADMIN: "index:all_projects"},
    "server-metadata": {READER: "index show", MEMBER: "create update_all update delete"},
    "os-server-password": {READER: "show", MEMBER: "clear"},
    "os-server-shares": {READER: "index show", MEMBER: "create delete"},
    "os-server-tags": {READER: "index show", MEMBER: "update_all update delete_all delete"},
    "servers": {
        READER: "index detail show show:flavor-extra-specs",
        MEMBER: "create create:attach_volume create:attach_network create:trusted_certs delete update confirm_resize "
                "revert_resize reboot resize rebuild rebuild:trusted_certs create_image "
                "create_image:allow_volume_backed start stop trigger_crash_dump",
        ADMIN: "index:get_all_tenants detail:get_all_tenants allow_all_filters show:host_status "
               "show:host_status:unknown-only create:forced_host create:zero_disk_flavor migrations:show",
        MANAGER: "migrations:force_complete migrations:delete migrations:index"},
    "os-services": {ADMIN: "list update delete"},
    "os-shelve": {MEMBER: "shelve unshelve", ADMIN: "unshelve_to_host shelve_offload"},
    "os-simple-tenant-usage": {READER: "show", ADMIN: "list"},
    "os-suspend-server": {MEMBER: "resume suspend"},
    "os-volumes-attachments": {READER: "index show", MEMBER: "create update delete", SERVICE: "swap"},
}

_WHOLE = {  # names that do not follow the pattern
    "os_compute_api:os-admin-password": MEMBER,
    "os_compute_api:os-console-auth-tokens": ADMIN,
    "os_compute_api:os-console-output": MEMBER,
    "os_compute_api:os-create-backup": MEMBER,
    "os_compute_api:os-evacuate": ADMIN,
    "os_compute_api:os-extended-server-attributes": ADMIN,
    "os_compute_api:extensions": ANYBODY,
    "os_compute_api:os-flavor-access": ADMIN,
    "os_compute_api:limits": ANYBODY,
    "os_compute_api:os-remote-consoles": MEMBER,
    "os_compute_api:os-rescue": MEMBER,
    "os_compute_api:os-unrescue": MEMBER,
    "os_compute_api:os-server-diagnostics": ADMIN,
    "compute:aggregates:images": ADMIN,
    "compute:server:topology:index": READER,
    "compute:server:topology:host:index": ADMIN,
    "compute:servers:create:requested_destination": ADMIN,
    "network:attach_external_network": ADMIN,
}

RULES: list[Rule] = [
    *(Rule(name, check) for name, check in _BASE.items()),
    *(Rule(f"os_compute_api:{resource}:{action}", check)
      for resource, checks in _API.items() for check, actions in checks.items() for action in actions.split()),
    *(Rule(name, check) for name, check in _WHOLE.items()),
]
