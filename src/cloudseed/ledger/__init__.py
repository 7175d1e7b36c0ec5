"""The ledger: what must hold across services and host at any moment of rest.

Each service paints a plain picture of what it holds (`Service.ledger`), the host of what exists; `checks.py`
compares them, purely: pictures in, violations out, each with its repair.  `violations.py` says what a rule is,
`rules/` has them by subject.  `cloudseed audit` prints them, and every fault test ends with them.
"""
