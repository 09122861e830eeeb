// Puts a mail into table mail for each event, exactly once. Settings of the connection
// are in PGHOST, PGDATABASE and so on.

import { Consumer, Dead } from "pgq4";

const consumer = new Consumer({
  queue: "orders",
  consumer: "mailer",
  onError: "retry",
  maxRetries: 5,
});

await consumer.run(async (event, client) => {
  if (event.data === null) throw new Dead("nothing to write about");
  await client.query("insert into mail (body) values ($1)", [event.data]);
});
