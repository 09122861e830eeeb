-- update_4_0.sql: head of the update from 4.0. tables_4_1.sql and the functions, which
-- replace those of 4.0, follow.
--
-- Here go functions that are to be no more, or can't be replaced since their result
-- is another: DROP FUNCTION, and DROP FUNCTION IF EXISTS of what 4.0 has not.

-- Tables and functions change together. Who moves retried events has the first lock
-- and waits for the second.
LOCK TABLE pgq.retry_queue IN SHARE UPDATE EXCLUSIVE MODE;
LOCK TABLE pgq.queue IN ACCESS EXCLUSIVE MODE;

-- get_problems() has more columns, and the limits
DROP FUNCTION pgq.get_problems();
DROP FUNCTION pgq.get_limit_warnings(int8);

-- It shows bookmarks, which are no business of those who only write
REVOKE EXECUTE ON FUNCTION pgq.get_relay_info() FROM pgq_writer;
