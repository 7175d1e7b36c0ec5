"""The networking API's resources: wire shapes, attributes and views, one file a resource."""
