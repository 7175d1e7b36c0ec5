"""Nova's scheduler: chooses a host among placement's candidates and claims it."""

from cloudseed.nova.scheduler.scheduler import Scheduler

__all__ = ["Scheduler"]
