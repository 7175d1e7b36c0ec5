"""HTTP: the door (edge), the apps behind it, and the calls between services."""
