// Consumers and producers of PgQ queues, on pg.

export { Batch, type Handler } from "./batch.js";
export { Consumer, type ConsumerOptions } from "./consumer.js";
export { BatchLost, Dead, type ErrorPolicy, type Event, Retry } from "./event.js";
export { emit, insert, insertMany, insertOnce, type NewEvent, type Queryable, seek } from "./produce.js";
export { NotTrusted } from "./session.js";
