"""Copies events into table copy, a batch at a time, on asyncio."""

import asyncio
import logging

from pgq4 import AsyncConsumer


async def main():
    async with AsyncConsumer(queue="orders", consumer="copier") as consumer:
        consumer.stop_on_signals()
        async for batch in consumer:
            async with batch:
                rows = [(event.id, event.data) async for event in batch]
                async with batch.conn.cursor() as cur:
                    await cur.executemany("insert into copy values (%s, %s)", rows)


logging.basicConfig(level=logging.INFO)
asyncio.run(main())
