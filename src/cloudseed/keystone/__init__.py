"""Identity: who is who, who may do what where, and where the services are.

Owns the tables in `models.py`, the bus topic `keystone`, and the endpoint prefix `/identity`.  Calls no other
service; the other services learn of revocations through the topic `token-cache`.

Read in this order: `service.py` (what it is made of), `authentication.py` (proving who you are), `scopes.py`
(what a token is for, and with which roles), `tokens.py` (the token itself), then one file a noun.
"""
