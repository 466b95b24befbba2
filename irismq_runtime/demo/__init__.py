"""What `irismq demo` runs: a day of flights through two nodes that crash and are killed.

It is part of the package so that it runs wherever that is installed, and it is an
example to read as well: examples/flights says how.

    messages        one dataclass a message
    store           the ledger: SQLite, one row a flight
    service         the actors, and the tree that supervises them
    data            the flights: of one day, beside this file, or of the whole year
    nats_servers    the NATS servers of `irismq demo --nats`
    demonstration   broker, relay, two nodes, the kill, the comparison
"""
