"""Metadata definitions: a catalogue of what properties mean (namespaces of objects, properties, tags, and the
resource types that they apply to).  Nothing in the cloud acts on them; dashboards read them.

`schemas.py` shapes, `namespaces.py` and `parts.py` the functions; tables in glance's `models.py`, API in
`api/metadefs.py`.
"""
