"""A single durable message, followed through all its steps by their events."""

from __future__ import annotations

from actors import Events
from irismq_runtime.observe import EVENTS, STEPS
from supervisors import Supervisor, child
from tests.integration.service import Inventory, Put
from tests.support.until import until


async def test_one_durable_message_goes_through_all_steps_in_order(servers):
    events, seen = Events(), []
    async with servers.node("shop", events=events) as shop:
        await shop.start(Supervisor.of(child(Inventory)))
        events.subscribe(seen.append)
        records = []
        shop.on_event(records.append)
        receipt = shop.ref("shop.inventory").tell(Put("tea"))
        await receipt
        await until(lambda: any(e.name == "settlement.finished" for e in seen))
        name = receipt.id.hex()
        joined = next(e for e in seen if e.name == "dispatch.decoded")
        broker_id = joined.fields["broker_id"]
        steps = [
            event
            for event in seen
            if event.fields.get("id") == name
            or (event.name == "consumer.received" and event.fields["message"] == broker_id)
        ]
        order = [event.name for event in steps]
        # The broker's confirmation may come before or after the message itself.
        order.remove("publisher.confirmed")
        assert order == [step for step in STEPS if step != "publisher.confirmed"]
        times = {event.name: event.time for event in steps}
        assert times["publisher.written"] <= times["publisher.confirmed"]
        assert set(STEPS) <= set(EVENTS)
        # None had fields that the catalogue does not know, or the watching would have ended.
        assert [record.NAME for record in records] == [event.name for event in seen]
