"""Cinder: block volumes, their snapshots, backups and types.

The API part (cinder-api) holds the records and drives every order as a durable operation; cinder-scheduler says
on which host a new volume goes; the volume manager of a host (cinder/volume: cinder-volume) makes and exports the
bytes, cinder/backup (cinder-backup) moves them to the object store.  The managers have no database: they are told
over the bus (topics `cinder-volume.<host>`, `cinder-backup.<host>`; `managers.py` is their contract) and report on
topic `cinder-api`.

Endpoint: /volume/v3.  Asks keystone (tokens), glance (images to make volumes of), nova (whether a server uses an
attachment; that a volume has grown).  Read `volumes.py` first, then `volume_states.py`, `volume_work.py` (what is
done to a volume, step by step) and `attachments.py`.
"""
