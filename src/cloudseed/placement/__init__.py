"""Placement: what resources there are, who holds how much of them, and where a request could be served.

Owns the tables in `models.py` and the endpoint `/placement`; calls nobody but keystone (to validate tokens).
Read in this order: `models` (what is stored), `changes` (how every write is numbered), `allocations` (the
claim: checked and written in one transaction), `picture` (the columns in memory that candidates are searched
in), `candidates/search` (which providers could serve a request), `service` (the URL table).

Guarantees: no inventory is ever allocated beyond its capacity by racing claims; a provider's and a consumer's
generation guard every write that is based on an earlier read; the picture in memory is compared with the
database's change number at each use, so another process may write too.
"""
