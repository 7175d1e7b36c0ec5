"""Nova's conductor: drives the durable operations of servers, and is the only writer of their state."""

from cloudseed.nova.conductor.conductor import Conductor

__all__ = ["Conductor"]
