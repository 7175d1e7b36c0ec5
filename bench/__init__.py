"""Benchmarks.  Each program starts a cloud of its own as a user would, measures, and purges exactly that cloud.

    boot        server create until the guest answers, beside the same guest under bare QEMU
    hosts       memory and start of `up --hosts N`, beside a cloud of one process
    idle        memory of an idle cloud; from `up` to the first token
    operations  operations a second, p50, p99 and our CPU seconds an operation
    bus         calls a second over RabbitMQ, beside a bare echo
    flows       what recording of flows costs a request
    monkey      a cloud of many hosts harmed at random under load (only when it is named)

Times on a shared machine drift, so what can be held against a limit is measured beside it in the same run, rounds
of both in turns, and everything else comes with the CPU seconds that the cloud's control process used.
`cloudseed bench` runs them; `aims.py` says what the figures are held against.
"""
