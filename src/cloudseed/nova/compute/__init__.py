"""Nova's compute: the host's side of a server.  No database: it works through the bus, neutron, glance, placement."""
