"""`python -m cloudseed.host`: run the host process.  See `server.py`."""

from __future__ import annotations

import sys

from cloudseed.host.server import main

sys.exit(main(sys.argv[1:]))
