"""Flows: every exchange between services, HTTP and bus, kept as it happened and drawn as a sequence diagram."""
