"""A cloud of many hosts on one machine: `up --hosts N`.

Each hypervisor host is a network namespace with a host process and an agent process of its own, and a complete
state directory below `<state>/hosts/`.  A namespace with two bridges joins them, as a switch and a provider's
network would.  PostgreSQL and RabbitMQ run beside the control process, in the machine's own namespace.

`places.py` says who is where (names, addresses, directories; pure), `shape.py` what was decided when the cloud was
made, `topology.py` makes namespaces and links, `start.py` and `stop.py` look after the processes.
"""
