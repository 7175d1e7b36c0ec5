"""Hypervisor drivers behind one small typed interface (`base.py`): `qemu.py` runs machines, `fake.py` pretends."""
