// Consumers and producers of PgQ queues, on pg.

export { Batch, type Handler } from "./batch.js";
export { Consumer, type ConsumerOptions } from "./consumer.js";
export { BatchLost, Dead, type ErrorPolicy, type Event, Retry } from "./event.js";
export { emit, insert, insertMany, type NewEvent, type Queryable } from "./produce.js";
