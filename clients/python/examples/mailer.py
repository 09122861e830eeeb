"""Puts a mail into table mail for each event, exactly once.

Settings of the connection are libpq's: PGHOST, PGDATABASE and so on.
"""

import logging

from pgq4 import Consumer, Dead


def mail(event, conn):
    if event.data is None:
        raise Dead("nothing to write about")
    conn.execute("insert into mail (body) values (%s)", (event.data,))


logging.basicConfig(level=logging.INFO)
with Consumer(queue="orders", consumer="mailer", on_error="retry", max_retries=5) as c:
    c.run(mail)
