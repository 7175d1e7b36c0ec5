"""Who may do what: rules under upstream's names with upstream's defaults (secure RBAC).

`admin` may do all; a system-scoped `reader` may see all; a domain-scoped `reader` sees, and `manager` changes,
what belongs to the domain; users see and keep what is their own.  Targets are `target.<noun>.<field>` of
records from the database; `user_id` in a target is the user that the URL names.
"""

from __future__ import annotations

from cloudseed.kernel.policy import Rule

ADMIN = "rule:admin_required"
READER = "rule:admin_required or (role:reader and system_scope:all)"
SYSTEM_READER = "(role:reader and system_scope:all)"


def _domain_reader(noun: str) -> str:
    return f"{READER} or (role:reader and domain_id:%(target.{noun}.domain_id)s)"


def _domain_manager(noun: str) -> str:
    return f"{ADMIN} or (role:manager and domain_id:%(target.{noun}.domain_id)s)"


def _grants(role: str) -> str:
    """`role` on the domain that owns both sides of a grant."""
    pairs = [(actor, target) for actor in ("user", "group") for target in ("project.domain_id", "domain.id")]
    return " or ".join(f"(role:{role} and domain_id:%(target.{actor}.domain_id)s and domain_id:%(target.{target})s)"
                       for actor, target in pairs)


_ROLE_OF_DOMAIN = "(domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s)"
_CHANGE_GRANT = (f"{ADMIN} or (({_grants('admin')}) and {_ROLE_OF_DOMAIN})"
                 f" or (({_grants('manager')}) and rule:domain_managed_target_role)")
_PROJECT_READER = (f"{READER} or (role:reader and domain_id:%(target.project.domain_id)s"
                   " and not None:%(target.project.domain_id)s) or project_id:%(target.project.id)s")
_PROJECT_MANAGER = (f"{ADMIN} or (role:manager and domain_id:%(target.project.domain_id)s"
                    " and not None:%(target.project.domain_id)s)")
_OWN_CREDENTIAL = "user_id:%(target.credential.user_id)s"
_TRUSTOR, _TRUSTEE = "user_id:%(target.trust.trustor_user_id)s", "user_id:%(target.trust.trustee_user_id)s"

_COMMON = [
    ("admin_required", "role:admin or is_admin:1"),
    ("service_role", "role:service"),
    ("service_or_admin", "rule:admin_required or rule:service_role"),
    ("owner", "user_id:%(user_id)s"),
    ("admin_or_owner", "rule:admin_required or rule:owner"),
    ("token_subject", "user_id:%(target.token.user_id)s"),
    ("admin_or_token_subject", "rule:admin_required or rule:token_subject"),
    ("service_admin_or_token_subject", "rule:service_or_admin or rule:token_subject"),
    ("domain_managed_target_role",
     "'manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s"),
]

# what only an administrator may do
_ADMINS = [
    "create_domain", "update_domain", "delete_domain", "create_domain_config", "update_domain_config",
    "delete_domain_config", "create_endpoint", "update_endpoint", "delete_endpoint", "create_endpoint_group",
    "update_endpoint_group", "delete_endpoint_group", "add_endpoint_group_to_project",
    "remove_endpoint_group_from_project", "add_endpoint_to_project", "remove_endpoint_from_project",
    "create_system_grant_for_user", "revoke_system_grant_for_user", "create_system_grant_for_group",
    "revoke_system_grant_for_group", "create_implied_role", "delete_implied_role", "create_limits", "update_limit",
    "delete_limit", "create_registered_limits", "update_registered_limit", "delete_registered_limit",
    "create_policy", "update_policy", "delete_policy", "create_policy_association_for_endpoint",
    "delete_policy_association_for_endpoint", "create_policy_association_for_service",
    "delete_policy_association_for_service", "create_policy_association_for_region_and_service",
    "delete_policy_association_for_region_and_service", "create_region", "update_region", "delete_region",
    "create_role", "update_role", "delete_role", "create_domain_role", "update_domain_role", "delete_domain_role",
    "create_service", "update_service", "delete_service"]

# what administrators and system readers may see
_READERS = [
    "get_domain_config", "get_domain_config_default", "get_endpoint", "list_endpoints", "list_endpoint_groups",
    "get_endpoint_group", "list_projects_associated_with_endpoint_group",
    "list_endpoints_associated_with_endpoint_group", "get_endpoint_group_in_project",
    "list_endpoint_groups_for_project", "list_projects_for_endpoint", "check_endpoint_in_project",
    "list_endpoints_for_project", "list_system_grants_for_user", "check_system_grant_for_user",
    "list_system_grants_for_group", "check_system_grant_for_group", "get_implied_role", "list_implied_roles",
    "list_role_inference_rules", "check_implied_role", "get_policy", "list_policies",
    "check_policy_association_for_endpoint", "check_policy_association_for_service",
    "check_policy_association_for_region_and_service", "get_policy_for_endpoint", "list_endpoints_for_policy",
    "get_domain_role", "list_domain_roles", "get_service", "list_services", "list_trusts"]

# what everybody with a token may do; some of these filter what they show
_EVERYBODY = [
    "get_auth_catalog", "get_auth_projects", "get_auth_domains", "get_auth_system", "get_limit_model",
    "list_limits", "get_region", "list_regions", "get_registered_limit", "list_registered_limits",
    "list_projects_for_user", "list_domains_for_user", "get_security_compliance_domain_config"]

_SPECIAL = {
    "get_access_rule": f"{SYSTEM_READER} or user_id:%(target.user.id)s",
    "list_access_rules": f"{SYSTEM_READER} or user_id:%(target.user.id)s",
    "delete_access_rule": "(role:admin and system_scope:all) or user_id:%(target.user.id)s",
    "get_application_credential": f"{READER} or rule:owner",
    "list_application_credentials": f"{READER} or rule:owner",
    "create_application_credential": "user_id:%(user_id)s",
    "delete_application_credential": "rule:admin_or_owner",
    "get_credential": f"{READER} or {_OWN_CREDENTIAL}",
    "list_credentials": f"{READER} or {_OWN_CREDENTIAL}",
    "create_credential": f"{ADMIN} or {_OWN_CREDENTIAL}",
    "update_credential": f"{ADMIN} or {_OWN_CREDENTIAL}",
    "delete_credential": f"{ADMIN} or {_OWN_CREDENTIAL}",
    "get_domain": f"{READER} or token.domain.id:%(target.domain.id)s or token.project.domain.id:%(target.domain.id)s",
    "list_domains": f"{READER} or (role:reader and domain_id:%(target.domain.id)s)",
    "ec2_get_credential": f"{READER} or {_OWN_CREDENTIAL}",
    "ec2_list_credentials": f"{READER} or rule:owner",
    "ec2_create_credential": f"{ADMIN} or (role:member and {_OWN_CREDENTIAL})",
    "ec2_delete_credential": f"{ADMIN} or (role:member and {_OWN_CREDENTIAL})",
    "check_grant": f"{READER} or (({_grants('reader')}) and {_ROLE_OF_DOMAIN})",
    "list_grants": f"{READER} or {_grants('reader')}",
    "create_grant": _CHANGE_GRANT,
    "revoke_grant": _CHANGE_GRANT,
    "get_group": _domain_reader("group"),
    "list_groups": _domain_reader("group"),
    "list_groups_for_user": f"{_domain_reader('user')} or user_id:%(user_id)s",
    "create_group": _domain_manager("group"),
    "update_group": _domain_manager("group"),
    "delete_group": _domain_manager("group"),
    "list_users_in_group": _domain_reader("group"),
    "check_user_in_group": f"{READER} or (role:reader and domain_id:%(target.group.domain_id)s"
                           " and domain_id:%(target.user.domain_id)s)",
    "add_user_to_group": f"{ADMIN} or (role:manager and domain_id:%(target.group.domain_id)s"
                         " and domain_id:%(target.user.domain_id)s)",
    "remove_user_from_group": f"{ADMIN} or (role:manager and domain_id:%(target.group.domain_id)s"
                              " and domain_id:%(target.user.domain_id)s)",
    "get_limit": f"{READER} or (domain_id:%(target.limit.domain.id)s or domain_id:%(target.limit.project.domain_id)s)"
                 " or (project_id:%(target.limit.project_id)s and not None:%(target.limit.project_id)s)",
    "get_project": _PROJECT_READER,
    "list_project_tags": _PROJECT_READER,
    "get_project_tag": _PROJECT_READER,
    "list_projects": f"{READER} or (role:reader and domain_id:%(target.domain_id)s)",
    "list_user_projects": f"{_domain_reader('user')} or user_id:%(target.user.id)s",
    "create_project": _PROJECT_MANAGER,
    "update_project": _PROJECT_MANAGER,
    "delete_project": _PROJECT_MANAGER,
    "update_project_tags": _PROJECT_MANAGER,
    "create_project_tag": _PROJECT_MANAGER,
    "delete_project_tags": _PROJECT_MANAGER,
    "delete_project_tag": _PROJECT_MANAGER,
    "list_revoke_events": "rule:service_or_admin",
    "revocation_list": "rule:service_or_admin",
    "s3tokens_validate": "rule:service_or_admin",
    "ec2tokens_validate": "rule:service_or_admin",
    "get_role": f"({READER}) or (role:manager and rule:domain_managed_target_role)",
    "list_roles": f"({READER}) or (role:manager and not domain_id:None)",
    "list_role_assignments": f"{READER} or (role:reader and domain_id:%(target.domain_id)s"
                             " and not None:%(target.domain_id)s)",
    "list_role_assignments_for_tree": f"{READER} or (role:reader and domain_id:%(target.domain_id)s"
                                      " and not None:%(target.domain_id)s)",
    "check_token": f"{READER} or rule:token_subject",
    "validate_token": f"{READER} or rule:service_role or rule:token_subject",
    "revoke_token": f"{ADMIN} or rule:token_subject",
    "create_trust": _TRUSTOR,
    "list_trusts_for_trustor": f"{READER} or {_TRUSTOR}",
    "list_trusts_for_trustee": f"{READER} or {_TRUSTEE}",
    "get_trust": f"{READER} or {_TRUSTOR} or {_TRUSTEE}",
    "list_roles_for_trust": f"{READER} or {_TRUSTOR} or {_TRUSTEE}",
    "get_role_for_trust": f"{READER} or {_TRUSTOR} or {_TRUSTEE}",
    "delete_trust": f"{ADMIN} or {_TRUSTOR}",
    "get_user": f"{READER} or (role:reader and token.domain.id:%(target.user.domain_id)s)"
                " or user_id:%(target.user.id)s",
    "list_users": f"{READER} or (role:reader and domain_id:%(target.domain_id)s)",
    "create_user": f"{ADMIN} or (role:manager and token.domain.id:%(target.user.domain_id)s)",
    "update_user": f"{ADMIN} or (role:manager and token.domain.id:%(target.user.domain_id)s)",
    "delete_user": f"{ADMIN} or (role:manager and token.domain.id:%(target.user.domain_id)s)",
    "revoke_tokens_for_user": "rule:admin_or_owner",
}

RULES: list[Rule] = [
    *(Rule(name, check) for name, check in _COMMON),
    *(Rule(f"identity:{name}", ADMIN) for name in _ADMINS),
    *(Rule(f"identity:{name}", READER) for name in _READERS),
    *(Rule(f"identity:{name}", "") for name in _EVERYBODY),
    *(Rule(f"identity:{name}", check) for name, check in _SPECIAL.items()),
]
