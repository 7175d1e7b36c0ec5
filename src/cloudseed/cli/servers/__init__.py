"""The servers of others that a cloud of many hosts needs, run for it on one machine."""
