"""The flavors that DevStack makes, c1 (the recording's) among them.

Once, here, and not at each start: an operator who deletes one does not find it again.
"""

from __future__ import annotations

import datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# id, name, MiB, GiB of disk, processors
FLAVORS = (
    ("1", "m1.tiny", 512, 1, 1), ("2", "m1.small", 2048, 20, 1), ("3", "m1.medium", 4096, 40, 2),
    ("4", "m1.large", 8192, 80, 4), ("5", "m1.xlarge", 16384, 160, 8), ("42", "m1.nano", 192, 1, 1),
    ("84", "m1.micro", 256, 1, 1), ("c1", "cirros256", 256, 1, 1), ("d1", "ds512M", 512, 5, 1),
    ("d2", "ds1G", 1024, 10, 1), ("d3", "ds2G", 2048, 10, 2), ("d4", "ds4G", 4096, 20, 4),
)


def upgrade() -> None:
    table = sa.table("flavors", *(sa.column(name) for name in (
        "id", "name", "ram", "disk", "vcpus", "ephemeral", "swap", "rxtx_factor", "is_public", "disabled",
        "extra_specs")), sa.column("created_at", sa.DateTime))
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    op.bulk_insert(table, [
        {"id": id, "name": name, "ram": ram, "disk": disk, "vcpus": vcpus, "ephemeral": 0, "swap": 0,
         "rxtx_factor": 1.0, "is_public": True, "disabled": False, "extra_specs": "{}", "created_at": now}
        for id, name, ram, disk, vcpus in FLAVORS])


def downgrade() -> None:
    """Deleting what may be in use since helps nobody."""
