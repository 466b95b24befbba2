"""A durable actor or an entity in a test, without a node."""

from __future__ import annotations

import pytest

from actors import ActorError, Refused
from irismq_runtime import ConfigError, Durable
from irismq_runtime.testing import DurableKit, Told
from tests.durability.helpers import Account, AccountState, Balance, Put
from tests.durability.test_reminders import HEARD, Alarms, DropAlarm, Rung, SetAlarm
from tests.entities.helpers import Device, DeviceState, Fail, PassTo, Read, Report


class Till(Account):
    address = "test.till"

    def __init__(self) -> None:
        super().__init__("test.till")


async def test_a_state_goes_in_and_states_answers_and_what_was_told_come_out():
    async with DurableKit(Device, key="ada", state=DeviceState(10, [10])) as device:
        assert await device.ask(Report(5)) == 15
        assert device.state == DeviceState(15, [10, 5])
        await device.tell(PassTo("bob", 4))
        assert device.told == [Told("test.device/bob", Report(4))]
        assert device.state.total == 11
        await device.restart()
        assert await device.ask(Read()) == 11


async def test_a_handler_that_does_not_return_has_done_nothing_and_the_next_message_finds_it_so():
    async with DurableKit(Device, key="ada", state=DeviceState(3)) as device:
        with pytest.raises(Refused, match="too little"):
            await device.tell(PassTo("bob", 4))
        with pytest.raises(RuntimeError, match="it was told to"):
            await device.ask(Fail())
        assert device.told == []
        assert await device.ask(Report(1)) == 4


async def test_reminders_come_at_their_times_when_the_test_lets_time_pass():
    HEARD.clear()
    async with DurableKit(Alarms, key="ada") as alarms:
        began = alarms.clock.time()
        await alarms.ask(SetAlarm("daily", "day", {"cron": "0 3 * * *", "tz": "Europe/Berlin"}))
        await alarms.ask(SetAlarm("once", "hour", {"after": 3600.0}))
        assert [each.name for each in alarms.reminders] == ["daily", "once"]
        await alarms.advance(3599.0)
        assert HEARD == []
        await alarms.advance(31 * 86400.0)
        assert HEARD.count("day") == 31
        assert HEARD.count("hour") == 1
        assert alarms.clock.time() == pytest.approx(began + 3599.0 + 31 * 86400.0)
        assert (await alarms.ask(Rung()))[1] == ["daily"]
        assert await alarms.ask(DropAlarm("daily")) is True
        await alarms.advance(31 * 86400.0)
        assert HEARD.count("day") == 31


async def test_an_actor_without_keys_is_tried_as_well_and_what_does_not_fit_is_named():
    async with DurableKit(Till, state=AccountState(5)) as till:
        assert await till.ask(Put(2)) == 7
        assert await till.ask(Balance()) == 7
        assert till.state.cents == 7
    for actor, key, text in ((Till, "a", "no class of entities"), (Device, "", "1 to 256")):
        with pytest.raises(ConfigError, match=text):
            DurableKit(actor, key=key)

    class Nameless(Durable):
        state: AccountState

    with pytest.raises(ConfigError, match="address"):
        DurableKit(Nameless)
    with pytest.raises((ActorError, TypeError)):
        async with DurableKit(Till, "one", "too many"):
            pass
