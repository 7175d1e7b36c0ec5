"""Glance's HTTP surface: one file a resource."""
