"""The HTTP side: one file a resource, its schema, handlers and view.  `wire` holds what they share."""
