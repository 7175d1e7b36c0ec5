"""Images: their records in its database, their bytes in the object store (or in local files).

Mounted at `/image`, `glance-api` in flows.  Calls keystone (tokens) and swift (bytes, as its own user, in the
container `glance` of the service project).

Read `service.py` (assembly), `image_states.py` (the life of an image), `images.py` (records), `uploads.py` (the
durable operation behind an upload, an import and a deletion), `inspection.py` (which images are refused),
`stores/` (where bytes lie: one interface, two of them).  Rows of deleted images stay, as upstream, so that an
id is never used twice: bytes are named by it.
"""
