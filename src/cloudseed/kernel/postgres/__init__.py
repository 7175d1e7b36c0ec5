"""A service's database on a PostgreSQL server: the engine of a cloud of many processes and hosts.

    postgresql://USER:PASSWORD@HOST:PORT/PREFIX       a database PREFIX_<service> for each service

What differs from SQLite, and what was done so that nobody above notices:
- `dialect.py`: SQL that means the same on both (order of nulls and texts, LIKE, sums, the size of an integer).
- `database.py`: transactions.  One writes at a time, by a lock in the database itself, so that `read, decide,
  write` needs no retries and no serialization failure can occur; readers see one moment (REPEATABLE READ).
- `server.py`: connections, the server's clock, and the sync that all who wait for durability share.
- `failures.py`: what a lost connection, a restarted server or a full disk mean for the caller.
- `schema.py`: making and upgrading the databases.

Nothing of this is loaded in a cloud on SQLite.
"""
