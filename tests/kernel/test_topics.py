"""Every topic is known by name, so that flows say who is asked also when it is another process."""

from __future__ import annotations

from pathlib import Path

from cloudseed.kernel.bus import InProcessEngine
from cloudseed.kernel.service_types import TOPIC_PARTS, parts_of_topic
from tests.support.cloud import Cloud


async def test_the_table_of_topics_is_whole_and_true(tmp_path: Path) -> None:
    async with Cloud(tmp_path) as cloud:
        engine = cloud.env.bus_engine
        assert isinstance(engine, InProcessEngine)
        for topic in engine.topics:
            assert topic.partition(".")[0] in TOPIC_PARTS, topic
            assert set(engine.listeners(topic)) <= set(parts_of_topic(topic)), topic
