"""neutron: networks, subnets, ports, their addresses and their security groups.

It owns one database (`models.py`) and one endpoint, `/networking`, of the part `neutron-server`.  Its agents
(`agent/`, parts `neutron-l2-agent`, `neutron-l3-agent`, `neutron-dhcp-agent`) have no database: on each host one loop
asks the server over the bus (topic `neutron-server`) for everything that this host shall wire, hands it to the host
process, and reports what came of it; the topic `neutron-agent` carries nothing but the hint to look again.
It calls keystone (tokens) and nova (`os-server-external-events`).

Read in this order: `service.py` (how it is assembled), `api/collection.py` (how a request reaches a domain
function; each resource's file beside it holds its attributes), `ports.py` and `ipam.py` (the heart),
`wiring.py` (what a host shall do), `agent/reconciler.py` (how it is done), `events.py` (how nova hears of it).
"""
