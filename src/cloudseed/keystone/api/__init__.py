"""Wire shapes, handlers and views: one file a resource.  Upstream's shapes stop here."""
