"""The object store: accounts, containers and objects behind swift's API.

It owns one database (metadata: `models.py`) and one folder, `<state>/swift/` (bytes: `files.py`); it calls
nobody but keystone, to validate tokens.  Mounted at `/object-store`, `swift-proxy-server` in flows.

Read `service.py` (assembly), `api/router.py` (a name may hold slashes anywhere, so one route takes them all),
then the nouns: `accounts.py`, `containers.py`, `objects.py`; `files.py` says what a 201 promises.
Authorization is keystoneauth's (`access.py`): swift has no policy file upstream either.

What differs from upstream, on purpose: everything is immediately consistent; the largest object is 5 TiB and
not 5 GiB, since one local file holds it; counts and sizes are counted, not stored.
"""
