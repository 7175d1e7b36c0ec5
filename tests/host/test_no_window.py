"""While rules are replaced there is no moment without them, and none in which what is allowed is lost: counted."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from cloudseed.host import networks
from cloudseed.host.paths import StatePaths
from cloudseed.host.records import RuleWish
from tests.host.conftest import ANY_EGRESS, network, port
from tests.host.frames import TapGuest

pytestmark = pytest.mark.real
ROUNDS = 12


def test_no_packet_slips_by_and_none_is_lost_while_rules_change(cloud: str, state: StatePaths) -> None:
    sender = port(10, ANY_EGRESS)
    allowed = RuleWish(direction="ingress", protocol="udp", port_range_min=7, port_range_max=7)
    receiver = port(11, allowed)
    wish = network(sender, receiver)
    networks.apply(cloud, state, [wish], full=True)
    sent, stop = [0], threading.Event()
    got: set[int] = set()

    def stream(one: TapGuest, two: TapGuest) -> None:
        while not stop.is_set():
            if sent[0] - len(got) > 200:  # the tap's queue is finite: what it drops is not the rules' doing
                stop.wait(0.001)
                continue
            number = sent[0].to_bytes(4, "big")
            # a fresh source port each time: no packet passes as the reply to another
            source = 1024 + sent[0] % 60000
            one.send_udp(two, b"let-in" + number, 7, source_port=source)
            one.send_udp(two, b"kept-out" + number, 8, source_port=source)
            sent[0] += 1
            stop.wait(0.0005)

    def change() -> None:
        try:
            for step in range(ROUNDS):
                other = RuleWish(direction="ingress", protocol="tcp", port_range_min=100 + step, port_range_max=200)
                changed = msgspec.structs.replace(receiver, rules=[allowed, other])
                done = networks.apply(cloud, state, [msgspec.structs.replace(wish, ports=[sender, changed])], full=True)
                assert done.networks[0].changed
        finally:
            stop.set()

    with (TapGuest(cloud, wish.network_id, sender) as one, TapGuest(cloud, wish.network_id, receiver) as two,
          ThreadPoolExecutor(2) as pool):
        streaming, changing = pool.submit(stream, one, two), pool.submit(change)
        while (frame := two.receive(lambda f: b"let-in" in f or b"kept-out" in f, 0.5)) is not None \
                or not stop.is_set():
            if frame is not None:
                assert b"kept-out" not in frame
                got.add(int.from_bytes(frame.partition(b"let-in")[2][:4], "big"))
        streaming.result()
        changing.result()
    assert sent[0] > 100
    assert got == set(range(sent[0]))
