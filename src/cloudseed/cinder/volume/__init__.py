"""cinder-volume: the manager of one host's volumes.  It has no database; what it is asked comes over the bus.

`service.py` is the manager: topic `cinder-volume.<host>`, its report every ten seconds, the loop that keeps the
exports that should be there.  `images.py`: images into volumes and volumes into images.  `bytes.py`: reading a
volume as a stream.  The work itself is the host process's (host/volumes.py).
"""
