"""Neutron's errors.  A class's name is the `type` that upstream's clients look at; its text is upstream's too."""

from __future__ import annotations

from typing import Any

from cloudseed.kernel import errors
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError, Conflict, Invalid, NotFound
from cloudseed.kernel.http import faults

# the kernel's own errors under the names that neutron gives them
_TYPES: dict[type[CloudseedError], str] = {
    errors.Invalid: "HTTPBadRequest", errors.NotFound: "HTTPNotFound", errors.Forbidden: "PolicyNotAuthorized",
    errors.MethodNotAllowed: "HTTPMethodNotAllowed", errors.BodyTooLarge: "HTTPRequestEntityTooLarge",
    errors.Unavailable: "HTTPServiceUnavailable", CloudseedError: "HTTPInternalServerError"}


def fault(error: CloudseedError, ctx: Context) -> Any:
    """An error body: {"NeutronError": {"type", "message", "detail"}}, and keystone's own shape for a 401."""
    if isinstance(error, errors.Unauthenticated):
        return faults.keystone(error, ctx)
    body = faults.neutron(error, ctx)
    body["NeutronError"]["type"] = error.kind or _TYPES.get(type(error), type(error).__name__)
    return body


class PolicyNotAuthorized(errors.Forbidden):
    template = "rule:%(rule)s is disallowed by policy"


class BadAttribute(Invalid):
    kind = "HTTPBadRequest"
    template = "Invalid input for %(name)s. Reason: %(reason)s."


class HTTPBadRequest(Invalid):
    pass


class InvalidInput(Invalid):
    template = "Invalid input for operation: %(reason)s."


class BadRequest(Invalid):
    template = "Bad %(resource)s request: %(reason)s."


class OverQuota(Conflict):
    template = "Quota exceeded for resources: %(overs)s."


class RevisionNumberConstraintFailed(errors.PreconditionFailed):
    template = "Constrained to %(expected)s, but current revision is %(current)s"


# ---- not found

class NetworkNotFound(NotFound):
    template = "Network %(id)s could not be found."


class SubnetNotFound(NotFound):
    template = "Subnet %(id)s could not be found."


class PortNotFound(NotFound):
    template = "Port %(id)s could not be found."


class SecurityGroupNotFound(NotFound):
    template = "Security group %(id)s does not exist"


class SecurityGroupRuleNotFound(NotFound):
    template = "Security group rule %(id)s does not exist"


class AddressGroupNotFound(NotFound):
    template = "Address group %(id)s could not be found."


class SubnetPoolNotFound(NotFound):
    template = "Subnet pool %(id)s could not be found."


class SegmentNotFound(NotFound):
    template = "Segment %(id)s could not be found."


class AddressScopeNotFound(NotFound):
    template = "Address scope %(id)s could not be found."


class AgentNotFound(NotFound):
    template = "Agent %(id)s could not be found."


class RbacPolicyNotFound(NotFound):
    template = "RBAC policy with ID %(id)s not found"


class RouterNotFound(NotFound):
    template = "Router %(id)s could not be found"


class FloatingIPNotFound(NotFound):
    template = "Floating IP %(id)s could not be found"


class TagNotFound(NotFound):
    template = "Tag %(tag)s could not be found."


class ExtensionNotFound(NotFound):
    kind = "HTTPNotFound"
    template = "Extension with alias %(id)s does not exist"


class TenantQuotaNotFound(NotFound):
    template = "Quota for tenant %(id)s could not be found."


# ---- networks and subnets

class NetworkInUse(Conflict):
    template = ("Unable to complete operation on network %(id)s. There are one or more ports still in use on the "
                "network, id for these ports is: %(ports)s.")


class NoNetworkAvailable(errors.Unavailable):
    retry = False
    template = "Unable to create the network. No project network is available for allocation."


class FlatNetworkInUse(Conflict):
    template = ("Unable to create the flat network. Physical network %(physical_network)s is in use.")


class TunnelIdInUse(Conflict):
    template = "Unable to create the network. The tunnel ID %(segmentation_id)s is in use."


class InvalidSharedSetting(Conflict):
    template = ("Unable to reconfigure sharing settings for network %(network)s. Multiple projects are using it.")


class SubnetInUse(Conflict):
    template = "Unable to complete operation on subnet %(id)s: %(reason)s."


class InvalidAllocationPool(Invalid):
    template = "The allocation pool %(pool)s is not valid."


class OutOfBoundsAllocationPool(Invalid):
    template = "The allocation pool %(pool)s spans beyond the subnet cidr %(cidr)s."


class OverlappingAllocationPools(Conflict):
    template = "Found overlapping allocation pools: %(first)s %(second)s for subnet %(cidr)s."


class GatewayConflictWithAllocationPools(Conflict):
    template = "Gateway ip %(ip)s conflicts with allocation pool %(pool)s."


class GatewayIpInUse(Conflict):
    template = "Current gateway ip %(ip)s already in use by port %(port)s. Unable to update."


class NetworkSubnetPoolAffinityError(Invalid):
    template = "Subnets hosted on the same network must be allocated from the same subnet pool."


class AutoAllocationFailure(Conflict):
    template = "Deployment error: %(reason)s."


class DefaultExternalNetworkExists(Conflict):
    template = "A default external network already exists: %(id)s."


# ---- ports

class PortInUse(Conflict):
    template = ("Unable to complete operation on port %(port)s for network %(network)s. Port already has an attached "
                "device %(device)s.")


class ServicePortInUse(Conflict):
    template = "Port %(id)s cannot be deleted directly via the port API: %(reason)s."


class PortBound(Conflict):
    template = ("Unable to complete operation on port %(id)s, port is already bound, port type: %(vif_type)s, "
                "old_mac %(old_mac)s, new_mac %(new_mac)s.")


class UnsupportedPortDeviceOwner(Conflict):
    template = "Operation multiple bindings is not supported for device_owner %(owner)s on port %(port)s."


class PortBindingNotFound(NotFound):
    template = "Binding for port %(id)s for host %(host)s could not be found."


class PortBindingAlreadyActive(Conflict):
    template = "Binding for port %(id)s on host %(host)s is already active."


class PortBindingAlreadyExists(Conflict):
    template = "Binding for port %(id)s on host %(host)s already exists."


class PortBindingError(Conflict):  # upstream answers 500
    template = ("Binding for port %(id)s on host %(host)s could not be created or updated: no living agent there wires "
                "ports.")


class MacAddressInUse(Conflict):
    template = "Unable to complete operation for network %(network)s. The mac address %(mac)s is in use."


class MacAddressGenerationFailure(errors.Unavailable):
    retry = False
    template = "Unable to generate unique mac on network %(network)s."


class IpAddressAlreadyAllocated(Conflict):
    template = "IP address %(ip)s already allocated in subnet %(subnet)s"


class IpAddressGenerationFailure(Conflict):
    template = "No more IP addresses available on network %(network)s."


class IpAddressGenerationFailureForSubnet(IpAddressGenerationFailure):
    kind = "IpAddressGenerationFailure"
    template = "No more IP addresses available for subnet %(subnet)s."


class InvalidIpForNetwork(Invalid):
    template = "IP address %(ip)s is not a valid IP for any of the subnets on the specified network."


class InvalidIpForSubnet(Invalid):
    template = "IP address %(ip)s is not a valid IP for the specified subnet."


class AddressPairAndPortSecurityRequired(Conflict):
    template = "Port Security must be enabled in order to have allowed address pairs on a port."


class AllowedAddressPairExhausted(Invalid):
    template = "The number of allowed address pair exceeds the maximum %(quota)s."


class PortSecurityPortHasSecurityGroup(Conflict):
    template = ("Port has security group associated. Cannot disable port security or IP address until security group "
                "is removed.")


class PortSecurityAndIPRequiredForSecurityGroups(Conflict):
    template = "Port security must be enabled and port must have an IP address in order to use security groups."


# ---- security groups

class SecurityGroupInUse(Conflict):
    template = "Security Group %(id)s %(reason)s."


class SecurityGroupDefaultAlreadyExists(Conflict):
    template = "Default security group already exists."


class SecurityGroupCannotUpdateDefault(Conflict):
    template = "Updating default security group not allowed."


class SecurityGroupCannotRemoveDefault(Conflict):
    template = "Insufficient rights for removing default security group."


class SecurityGroupRuleExists(Conflict):
    template = "Security group rule already exists. Rule id is %(id)s."


class SecurityGroupInvalidPortRange(Invalid):
    template = "For TCP/UDP protocols, port_range_min must be <= port_range_max"


class SecurityGroupInvalidPortValue(Invalid):
    template = "Invalid value for port %(port)s"


class SecurityGroupProtocolRequiredWithPorts(Invalid):
    template = "Must also specify protocol if port range is given."


class SecurityGroupInvalidIcmpValue(Invalid):
    template = "Invalid value for ICMP %(field)s (%(attr)s) %(value)s. It must be 0 to 255."


class SecurityGroupMissingIcmpType(Invalid):
    template = "ICMP code (port-range-max) %(value)s is provided but ICMP type (port-range-min) is missing."


class SecurityGroupRuleInvalidProtocol(Invalid):
    template = ("Security group rule protocol %(protocol)s not supported. Only protocol values %(values)s and integer "
                "representations [0 to 255] are supported.")


class SecurityGroupInvalidProtocolForPort(Invalid):
    template = ("Ports cannot be specified for protocol %(protocol)s. Ports are only supported for DCCP, SCTP, TCP, "
                "UDP, UDPLITE.")


class SecurityGroupRuleParameterConflict(Invalid):
    template = "Conflicting value ethertype %(ethertype)s for CIDR %(cidr)s"


class SecurityGroupEthertypeConflictWithProtocol(Invalid):
    template = "Invalid ethertype %(ethertype)s for protocol %(protocol)s."


class SecurityGroupMultipleRemoteEntites(Invalid):  # upstream's spelling
    template = "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided."


class DefaultSecurityGroupRuleNotFound(NotFound):
    template = "Default Security Group rule %(id)s does not exist"


class DefaultSecurityGroupRuleExists(Conflict):
    template = "Default Security group rule already exists. Rule id is %(id)s."


class SecurityGroupDefaultStatefulnessNotFound(NotFound):
    template = "Security group default statefulness %(id)s could not be found."


class SecurityGroupDefaultStatefulnessAlreadyExists(Conflict):
    template = "A security group default statefulness setting already exists for project '%(project)s'."


class AddressGroupInUse(Conflict):
    template = "Address group %(id)s is in use on one or more security group rules."


class AddressesAlreadyExist(Invalid):
    template = "Addresses %(addresses)s already exist in the address group %(id)s."


class AddressesNotFound(NotFound):
    template = "Addresses %(addresses)s not found in the address group %(id)s."


# ---- pools, scopes, sharing

class SubnetPoolInUse(Conflict):
    template = "Unable to complete operation on subnet pool %(id)s. %(reason)s."


class SubnetAllocationError(Conflict):
    template = "Failed to allocate subnet: %(reason)s."


class SubnetPoolDeleteError(Conflict):
    template = "Unable to delete subnet pool: %(reason)s."


class MinPrefixSubnetAllocationError(Invalid):
    template = ("Unable to allocate subnet with prefix length %(prefixlen)s, minimum allowed prefix is "
                "%(min_prefixlen)s.")


class MaxPrefixSubnetAllocationError(Invalid):
    template = ("Unable to allocate subnet with prefix length %(prefixlen)s, maximum allowed prefix is "
                "%(max_prefixlen)s.")


class SubnetPoolQuotaExceeded(Conflict):
    template = "Per-project subnet pool prefix quota exceeded."


class IllegalSubnetPoolPrefixBounds(Invalid):
    template = "Illegal prefix bounds: %(reason)s."


class IllegalSubnetPoolPrefixUpdate(Invalid):
    template = "Illegal update to prefixes: %(reason)s."


class NetworkIdsDontMatch(Invalid):
    template = ("The subnet's network id, '%(subnet_network)s', doesn't match the network_id of segment "
                "'%(segment_id)s'.")


class SubnetsNotAllAssociatedWithSegments(Invalid):
    template = ("All of the subnets on network '%(network_id)s' must either all be associated with segments or all "
                "not associated with any segments.")


class SubnetSegmentAssociationChangeNotAllowed(Invalid):
    template = "A subnet that is already associated with a segment cannot have its segment association changed."


class SegmentInUse(Conflict):
    template = "Segment '%(segment_id)s' cannot be deleted: %(reason)s."


class AddressScopeInUse(Conflict):
    template = "Unable to complete operation on address scope %(id)s. There are one or more subnet pools in use on it."


class AddressScopePrefixConflict(Conflict):
    pass


class RbacPolicyInUse(Conflict):
    template = "RBAC policy on object %(id)s cannot be removed because other objects depend on it."


class DuplicateRbacPolicy(Conflict):
    template = "An RBAC policy already exists with those values."


# ---- routers and floating addresses

class RouterInterfacePortMismatch(Conflict):
    pass


class RouterInUse(Conflict):
    template = "Router %(id)s %(reason)s"


class RouterInterfaceNotFound(NotFound):
    template = "Router %(router)s does not have an interface with id %(port)s"


class RouterInterfaceNotFoundForSubnet(NotFound):
    template = "Router %(router)s has no interface on subnet %(subnet)s"


class RouterInterfaceInUseByFloatingIP(Conflict):
    template = ("Router interface for subnet %(subnet)s on router %(router)s cannot be deleted, as it is required by "
                "one or more floating IPs.")


class RouterInterfaceInUseByRoute(Conflict):
    template = ("Router interface for subnet %(subnet)s on router %(router)s cannot be deleted, as it is required by "
                "one or more routes.")


class RouterExternalGatewayInUseByFloatingIp(Conflict):
    template = ("Gateway cannot be updated for router %(router)s, since a gateway to external network %(network)s is "
                "required by one or more floating IPs.")


class InvalidRoutes(Invalid):
    template = "Invalid format for routes: %(routes)s, %(reason)s"


class ExternalGatewayForFloatingIPNotFound(NotFound):
    template = ("External network %(network)s is not reachable from subnet %(subnet)s. Therefore, cannot associate "
                "Port %(port)s with a Floating IP.")


class FloatingIPPortAlreadyAssociated(Conflict):
    template = ("Cannot associate floating IP %(address)s (%(id)s) with port %(port)s using fixed IP %(fixed_ip)s, as "
                "that fixed IP already has a floating IP on external network %(network)s.")


class PortForwardingNotFound(NotFound):
    template = "Port Forwarding %(id)s could not be found."


class FipInUseByPortForwarding(Conflict):
    template = "Floating IP %(id)s in use by Port Forwarding resources."


class PortHasBindingFloatingIP(Conflict):
    template = ("Cannot create port forwarding to floating IP %(address)s (%(id)s) with port %(port)s using fixed IP "
                "%(fixed_ip)s, as that port already has a binding floating IP.")


class InvalidL3Agent(Conflict):
    template = "Agent %(id)s is not a L3 Agent or has been disabled"


class RouterHostedByL3Agent(Conflict):
    template = "The router %(router)s has been already hosted by the L3 Agent %(agent)s."


class RouterNotHostedByL3Agent(Conflict):
    template = "The router %(router)s is not hosted by L3 agent %(agent)s."


# ---- quality of service

class QosPolicyNotFound(NotFound):
    template = "QoS policy %(id)s could not be found."


class QosRuleNotFound(NotFound):
    template = "QoS rule %(id)s for policy %(policy)s could not be found."


class QoSPolicyDefaultAlreadyExists(Conflict):
    template = "A default QoS policy exists for project %(project)s."


class QosPolicyInUse(Conflict):
    template = "QoS Policy %(id)s is used by %(kind)s %(used)s."


class QosRuleNotSupported(Conflict):
    template = "Rule %(type)s is not supported by port %(port)s"


class QosRuleNotSupportedByNetwork(Conflict):
    template = "Rule %(type)s is not supported by network %(network)s"


class QoSRuleParameterConflict(Conflict):
    template = ("Unable to add the rule with value %(value)s to the policy %(policy)s as the existing rule of type "
                "%(type)s has value %(held)s.")


class QoSRulesConflict(Conflict):
    template = "Rule %(type)s conflicts with rule %(id)s which already exists in QoS Policy %(policy)s."


class PolicyRemoveAuthorizationError(errors.Forbidden):
    template = "Failed to remove provided policy %(id)s because you are not authorized."
