"""RabbitMQ as the engine of the bus: what the in-process engine does, between processes and hosts.

Read in this order: `engine.py` (what a caller and a receiver get), `link.py` (one connection and what is declared
over it), `seen.py` (why a message that comes twice is handled once).  Imported only where a broker is configured.
"""

from cloudseed.kernel.amqp.engine import RabbitEngine

__all__ = ["RabbitEngine"]
