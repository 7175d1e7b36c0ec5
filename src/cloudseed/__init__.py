"""Cloudseed: OpenStack, written anew in Python as one coherent program.  docs/architecture.md is the code tour."""

__version__ = "0.1.0"
