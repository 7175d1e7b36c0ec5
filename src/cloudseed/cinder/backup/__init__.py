"""cinder-backup: volumes into the object store and back.  It has no database; what it is asked comes over the bus.

`service.py` is the manager: topic `cinder-backup.<host>`.  `objects.py`: where a backup's objects are.
`layout.py`: what they hold.  `work.py`: making, restoring and deleting one.
"""
