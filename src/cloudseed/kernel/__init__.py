"""What every service stands on, and nothing of any service.

Read in this order: `context` (who asks, and in which flow), `errors` (what can go wrong), `http/app` (how a
request reaches a handler), `http/client` (how a service calls another), `bus` (how the parts of one service
reach one another), `db`, `operations` (what a user ordered and must end), `runtime` (which hosts it all).
"""
