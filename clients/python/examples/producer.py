"""Puts events into queue orders."""

import psycopg

import pgq4

with psycopg.connect() as conn:
    print("event", pgq4.insert(conn, "orders", "new", {"name": "pen"}))
    ids = pgq4.insert_many(conn, "orders", [("new", f"pen {n}") for n in range(3)])
    print(len(ids), "events")
