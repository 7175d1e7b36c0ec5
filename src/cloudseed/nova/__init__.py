"""Nova: servers (virtual machines), their flavors, keys and quotas; scheduling; the hypervisor hosts.

Parts, by their names in flows: `nova-api` (the HTTP API), `nova-conductor` (drives the durable operations; the
only writer of a server's state), `nova-scheduler` (chooses and claims a host), `nova-compute` (the host's side:
no database, works through the bus, neutron, glance, placement and the host process).

Topics: `conductor`, `scheduler`, `compute.<host>`.  Calls: glance (images), neutron (ports), placement
(allocations), keystone (tokens).  Tables: models.py.  Read `servers.py` first, then `conductor/`, then `compute/`.
"""
