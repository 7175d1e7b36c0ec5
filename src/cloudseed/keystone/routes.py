"""Keystone's URL table."""

from __future__ import annotations

from typing import Any

from cloudseed.keystone.api import (
    application_credentials,
    assignments,
    auth,
    credentials,
    domains,
    ec2tokens,
    grants,
    groups,
    limits,
    policies,
    projects,
    regions,
    revocations,
    roles,
    services,
    trusts,
    users,
    versions,
)
from cloudseed.keystone.state import Keystone


def routes(ks: Keystone) -> dict[str, Any]:
    """URI template -> resource."""
    return {
        "/": versions.VersionsResource(ks),
        "/v3": versions.VersionResource(ks),
        "/v3/auth/tokens": auth.TokensResource(ks),
        "/v3/auth/projects": auth.AuthProjectsResource(ks),
        "/v3/auth/domains": auth.AuthDomainsResource(ks),
        "/v3/auth/system": auth.AuthSystemResource(ks),
        "/v3/auth/catalog": auth.AuthCatalogResource(ks),
        "/v3/domains": domains.DomainsResource(ks),
        "/v3/domains/{domain_id}": domains.DomainResource(ks),
        "/v3/projects": projects.ProjectsResource(ks),
        "/v3/projects/{project_id}": projects.ProjectResource(ks),
        "/v3/projects/{project_id}/tags": projects.ProjectTagsResource(ks),
        "/v3/projects/{project_id}/tags/{tag}": projects.ProjectTagResource(ks),
        "/v3/users": users.UsersResource(ks),
        "/v3/users/{user_id}": users.UserResource(ks),
        "/v3/users/{user_id}/password": users.UserPasswordResource(ks),
        "/v3/users/{user_id}/groups": groups.UserGroupsResource(ks),
        "/v3/users/{user_id}/projects": projects.UserProjectsResource(ks),
        "/v3/groups": groups.GroupsResource(ks),
        "/v3/groups/{group_id}": groups.GroupResource(ks),
        "/v3/groups/{group_id}/users": groups.GroupUsersResource(ks),
        "/v3/groups/{group_id}/users/{user_id}": groups.GroupUserResource(ks),
        "/v3/roles": roles.RolesResource(ks),
        "/v3/roles/{role_id}": roles.RoleResource(ks),
        "/v3/roles/{role_id}/implies": roles.ImpliedRolesResource(ks),
        "/v3/roles/{role_id}/implies/{implied_id}": roles.ImpliedRoleResource(ks),
        "/v3/role_inferences": roles.RoleInferencesResource(ks),
        "/v3/OS-REVOKE/events": revocations.RevocationEventsResource(ks),
        "/v3/users/{user_id}/tokens": revocations.UserTokensResource(ks),
        "/v3/auth/tokens/OS-PKI/revoked": revocations.PkiRevokedResource(ks),
        "/v3/OS-SIMPLE-CERT/ca": revocations.PkiCertificatesResource(ks),
        "/v3/OS-SIMPLE-CERT/certificates": revocations.PkiCertificatesResource(ks),
        "/v3/role_assignments": assignments.RoleAssignmentsResource(ks),
        "/v3/regions": regions.RegionsResource(ks),
        "/v3/regions/{region_id}": regions.RegionResource(ks),
        "/v3/services": services.ServicesResource(ks),
        "/v3/services/{service_id}": services.ServiceResource(ks),
        "/v3/endpoints": services.EndpointsResource(ks),
        "/v3/endpoints/{endpoint_id}": services.EndpointResource(ks),
        "/v3/users/{user_id}/application_credentials": application_credentials.ApplicationCredentialsResource(ks),
        "/v3/users/{user_id}/application_credentials/{credential_id}":
            application_credentials.ApplicationCredentialResource(ks),
        "/v3/users/{user_id}/access_rules": application_credentials.AccessRulesResource(ks),
        "/v3/users/{user_id}/access_rules/{rule_id}": application_credentials.AccessRuleResource(ks),
        "/v3/OS-TRUST/trusts": trusts.TrustsResource(ks),
        "/v3/OS-TRUST/trusts/{trust_id}": trusts.TrustResource(ks),
        "/v3/OS-TRUST/trusts/{trust_id}/roles": trusts.TrustRolesResource(ks),
        "/v3/OS-TRUST/trusts/{trust_id}/roles/{role_id}": trusts.TrustRoleResource(ks),
        "/v3/ec2tokens": ec2tokens.Ec2TokensResource(ks),
        "/v3/s3tokens": ec2tokens.S3TokensResource(ks),
        "/v3/policies": policies.PoliciesResource(ks),
        "/v3/policies/{policy_id}": policies.PolicyResource(ks),
        "/v3/registered_limits": limits.RegisteredLimitsResource(ks),
        "/v3/registered_limits/{limit_id}": limits.RegisteredLimitResource(ks),
        "/v3/limits": limits.LimitsResource(ks),
        "/v3/limits/model": limits.LimitModelResource(ks),
        "/v3/limits/{limit_id}": limits.LimitResource(ks),
        "/v3/credentials": credentials.CredentialsResource(ks),
        "/v3/credentials/{credential_id}": credentials.CredentialResource(ks),
        "/v3/users/{user_id}/credentials/OS-EC2": credentials.Ec2CredentialsResource(ks),
        "/v3/users/{user_id}/credentials/OS-EC2/{access}": credentials.Ec2CredentialResource(ks),
        **_grants(ks),
    }


def _grants(ks: Keystone) -> dict[str, Any]:
    """The many URLs of a grant: on project, domain and system, for user and group, inherited or not."""
    table: dict[str, Any] = {}
    for actor in ("user", "group"):
        for target in ("project", "domain"):
            # falcon wants one name for a variable in one place: the target's is that of /v3/projects/{project_id}
            path = f"/v3/{target}s/{{{target}_id}}/{actor}s/{{actor_id}}/roles"
            table[path] = grants.GrantsResource(ks, target, actor)
            table[f"{path}/{{role_id}}"] = grants.GrantResource(ks, target, actor)
            path = f"/v3/OS-INHERIT/{target}s/{{{target}_id}}/{actor}s/{{actor_id}}/roles"
            table[f"{path}/inherited_to_projects"] = grants.GrantsResource(ks, target, actor, inherited=True)
            table[f"{path}/{{role_id}}/inherited_to_projects"] = grants.GrantResource(ks, target, actor,
                                                                                      inherited=True)
        path = f"/v3/system/{actor}s/{{actor_id}}/roles"
        table[path] = grants.GrantsResource(ks, "system", actor)
        table[f"{path}/{{role_id}}"] = grants.GrantResource(ks, "system", actor)
    return table
