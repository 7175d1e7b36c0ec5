"""The dashboard: the cloud in a browser, at `/dashboard/`; works without JavaScript.

It owns no data and has no user of its own: every page is made from the public APIs' answers to the visitor's own
token, which lies sealed in his cookie (`sessions.py`).  Flows it reads from the recorder's store, an admin every
one, others those of their project.  Pages are made by functions of plain data (`html.py` escapes whatever is not
markup); one file a page in `pages/`.  Read `service.py` first, then `visit.py`, then a page.
"""
