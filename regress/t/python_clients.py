"""Clients of python3-pgq, for python_clients.pl.

    python_clients.py KIND INI [OPTION...]

Runs one turn of the consumer KIND and prints the events it got, one JSON array
a line: type, data, extra1, retry. An event with data 'again' is to be retried
when it comes first; the batch of an event with data 'fail' fails while the file
INI.fail is there.
"""

import datetime
import json
import os
import sys

import pgq
import skytools
from pgq.status import PGQStatus


def take(script, ev):
    if ev.data == "fail" and os.path.exists(sys.argv[2] + ".fail"):
        raise Exception("told to fail")
    print(json.dumps([ev.type, ev.data, ev.extra1, ev.retry]), flush=True)
    if ev.data == "again" and not ev.retry:
        ev.tag_retry(0)


class Plain(pgq.Consumer):
    def process_event(self, db, event):
        take(self, event)


class Coop(pgq.CoopConsumer):
    def process_event(self, db, event):
        take(self, event)


class Local(pgq.LocalConsumer):
    def process_local_event(self, db, batch_id, ev):
        take(self, ev)


class Remote(pgq.RemoteConsumer):
    def process_remote_batch(self, db, batch_id, event_list, dst_db):
        for ev in event_list:
            take(self, ev)


class Serial(pgq.SerialConsumer):
    def process_remote_batch(self, db, batch_id, event_list, dst_db):
        for ev in event_list:
            take(self, ev)


def produce(connstr):
    db = skytools.connect_database(connstr)
    curs = db.cursor()
    pgq.insert_event(curs, "q", "single", "it's one", extra1="e1")
    now = datetime.datetime.now(datetime.timezone.utc)
    rows = [(now, "bulk", "tab\tand 'quote' \\ %d" % i, "public.x")
            for i in range(1000)]
    pgq.bulk_insert_events(
        curs, rows, ("ev_time", "ev_type", "ev_data", "ev_extra1"), "q")
    db.commit()


def main():
    kind, ini, args = sys.argv[1], sys.argv[2], sys.argv[2:]
    if kind == "produce":
        produce(ini)
        return
    if kind == "status":
        script = PGQStatus([ini])
    elif kind in ("Remote", "Serial"):
        script = globals()[kind]("test", "db", "remote_db", args)
    else:
        script = globals()[kind]("test", "db", args)
    script.set_single_loop(1)
    script.start()


main()
