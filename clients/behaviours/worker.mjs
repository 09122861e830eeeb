// The worker of the behaviours, on the Node client. README.md has the contract.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import pg from "pg";
import { Consumer, Dead, emit, insert, insertMany, insertOnce, Retry, seek } from "pgq4";

const [connection, queue, consumer, ...words] = process.argv.slice(2);
const option = Object.fromEntries(words.map((word) => word.split("=")));

async function handle(event, client) {
  if (event.type === "hold") {
    console.log(`hold ${event.id}`);
    while (!existsSync(event.data)) await setTimeout(10);
  }
  await client.query(
    "insert into public.done (consumer, ev_id, ev_type, retry, md5) values ($1, $2, $3, $4, $5)",
    [consumer, event.id, event.type, event.retry,
      createHash("md5").update(event.data ?? "").digest("hex")]);
  if (event.type === "fail") throw new Error("told to fail €\0");
  if (event.type === "badsql") await client.query("select 1 / 0");
  if (event.type === "hidesql") await client.query("select 1 / 0").catch(() => undefined);
  if (event.type === "again") await client.query("select public.fail_once()");
  if (event.type === "retry" && event.retry === 0) throw new Retry(0);
  if (event.type === "dead") throw new Dead("told to");
}

async function work(c) {
  if (option.mode === "drain") {
    await c.drain(handle);
  } else if (option.mode === "iterate") {
    c.stopOnSignals();
    for await (const batch of c) {
      for await (const event of batch) {
        if (event.type === "stop") c.stop();
        await handle(event, batch.client);
      }
    }
  } else {
    await c.run(handle);
  }
}

async function produce(client) {
  await insert(client, queue, { type: "one", data: { key: "é" }, extra: ["x", null, "z"] });
  await insertMany(client, queue,
    Array.from({ length: 1000 }, (_, n) => ({ type: "many", data: String(n), extra: ["x"] })));
  for (let n = 0; n < 2; n++) {
    await insertOnce(client, queue, "the key", { type: "once", data: "only" });
  }
  await emit(client, queue, { type: "emitted", data: "through the WAL" });
}

async function connected(action) {
  const client = new pg.Client({ connectionString: connection });
  await client.connect();
  await action(client);
  await client.end();
}

try {
  if (option.mode === "produce") {
    await connected(produce);
  } else if (option.mode === "seek") {
    await connected((client) => seek(client, queue, consumer, option.to));
  } else {
    await work(new Consumer({
      connection, queue, consumer,
      register: option.register === "yes",
      share: option.share,
      lease: option.lease && Number(option.lease),
      onError: option.on_error,
      maxRetries: option.max_retries && Number(option.max_retries),
      retryDelay: option.retry_delay && Number(option.retry_delay),
    }));
  }
} catch (error) {
  console.log(`error ${/^[0-9A-Z]{5}$/.test(error.code) ? error.code : "-"} ${error.message}`);
  process.exitCode = 1;
}
