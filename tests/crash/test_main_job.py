"""The main job, killed: an application saves containers, images, sessions and messages, dies, and finds all of it again."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time

from limpet import create_persistence

WRITER = """
import asyncio, sys
from limpet import create_persistence
from limpet.records import ContainerRecord, ImageRecord, SessionRecord, UserMessage

async def main(url):
    async with create_persistence(url) as persistence:
        start = max(0, len(await persistence.containers.find_all_containers()) - 1)  # the last one may lack something
        for n in range(start, start + 1000):
            await persistence.containers.save_container(ContainerRecord(container_id=f"c{n}"))
            image = ImageRecord(image_id=f"i{n}", container_id=f"c{n}", session_id=f"s{n}", name=f"Assistant {n}")
            await persistence.images.save_image(image)
            await persistence.sessions.save_session(SessionRecord(session_id=f"s{n}", image_id=f"i{n}", container_id=f"c{n}"))
            for m in range(3):
                await persistence.sessions.add_message(f"s{n}", UserMessage(id=f"{n}-{m}", content=f"{n}-{m}"), unique=True)
            print(n, flush=True)

asyncio.run(main(sys.argv[1]))
"""


def killed_writer(url: str) -> int:
    """Let a process write, kill it in the middle, answer the last number that it was told is saved."""
    with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline()]
        time.sleep(random.uniform(0.05, 0.4))
        writer.kill()
        told += writer.stdout.read().split("\n")[:-1]
    return max(map(int, told))


async def test_everything_acknowledged_is_found_again(lasting_url: str) -> None:
    for _ in range(4):
        acknowledged = await asyncio.to_thread(killed_writer, lasting_url)
        async with create_persistence(lasting_url) as persistence:
            for n in range(acknowledged + 1):
                assert await persistence.containers.container_exists(f"c{n}")
                assert [image.image_id for image in await persistence.images.find_images_by_name(f"Assistant {n}")] == [
                    f"i{n}"
                ]
                session = await persistence.sessions.find_session_by_image_id(f"i{n}")
                assert session is not None
                assert session.session_id == f"s{n}"
                messages = await persistence.sessions.get_messages(f"s{n}")
                assert [message.model_dump()["content"] for message in messages] == [f"{n}-{m}" for m in range(3)]
            for store in (persistence.containers, persistence.images, persistence.sessions):
                report = await store.repair()
                assert (report.added, report.removed, report.unreadable) == (0, 0, ()), "no save was left half done"
    assert acknowledged > 5
