// Puts events into queue orders.

import pg from "pg";
import { insert, insertMany } from "pgq4";

const client = new pg.Client();
await client.connect();
await client.query("begin");
console.log("event", await insert(client, "orders", { type: "new", data: { name: "pen" } }));
const ids = await insertMany(client, "orders",
  ["a", "b", "c"].map((name) => ({ type: "new", data: { name } })));
console.log(ids.length, "events");
await client.query("commit");
await client.end();
