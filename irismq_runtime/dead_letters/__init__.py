"""Messages that were given up, as the broker keeps them: read, replayed, dropped.

`irismq dead` and the observer page stand on it.

    letter    one dead letter, parsed from bytes that anybody may have published
    reader    all letters of an address, held under leases while they are looked at
"""
