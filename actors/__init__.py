"""Actors: private state, one message at a time, on one event loop.

See the guide in docs/ for a tour. `System` owns the actors of a loop; `Actor`
and `ThreadActor` are what one subclasses; `ActorRef` is how one reaches them.
"""

from actors import _forked as _forked  # for its hook: systems refuse in forked children
from actors._rates import Rate
from actors.actor import Actor
from actors.clock import Clock, LoopClock, TimerHandle
from actors.context import Context
from actors.counters import Counters
from actors.current import current_actor, current_chain, current_ref, current_system
from actors.dead_letters import DeadLetter, DeadLetters
from actors.delivery import Delivery, Outcome
from actors.errors import (
    ActorClassError,
    ActorCrashed,
    ActorDeadError,
    ActorError,
    AlreadyRegistered,
    AskCancelled,
    AskCycle,
    AskTimeout,
    BlockingCall,
    ForkedProcess,
    HandlerTableError,
    HandlerTimeout,
    Ignore,
    MailboxFull,
    Overloaded,
    Refused,
    Reject,
    Restarting,
    Retry,
    StartFailed,
    StashFull,
    ThreadAbandoned,
    Unhandled,
)
from actors.events import Event, Events
from actors.exits import Exit, Terminated
from actors.future import Future
from actors.handlers import exposed, exposed_methods, receives
from actors.messages import (
    MessageNameError,
    message,
    message_name,
    message_types,
    upgrades,
)
from actors.middleware import CallNext, Middleware
from actors.proxies import ProxyCall
from actors.receipt import Receipt
from actors.ref import ActorRef
from actors.reply import Reply
from actors.request import Request
from actors.slow import SlowHandler
from actors.system import Lifecycle, Statistics, System, default_system
from actors.thread_actor import ThreadActor
from actors.timers import Timer
from actors.watchdog import BlockedLoop

__all__ = [
    "Actor",
    "ActorClassError",
    "ActorCrashed",
    "ActorDeadError",
    "ActorError",
    "ActorRef",
    "AlreadyRegistered",
    "AskCancelled",
    "AskCycle",
    "AskTimeout",
    "BlockedLoop",
    "BlockingCall",
    "CallNext",
    "Clock",
    "Context",
    "Counters",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Event",
    "Events",
    "Exit",
    "ForkedProcess",
    "Future",
    "HandlerTableError",
    "HandlerTimeout",
    "Ignore",
    "Lifecycle",
    "LoopClock",
    "MailboxFull",
    "MessageNameError",
    "Middleware",
    "Outcome",
    "Overloaded",
    "ProxyCall",
    "Rate",
    "Receipt",
    "Refused",
    "Reject",
    "Reply",
    "Request",
    "Restarting",
    "Retry",
    "SlowHandler",
    "StartFailed",
    "StashFull",
    "Statistics",
    "System",
    "Terminated",
    "ThreadAbandoned",
    "ThreadActor",
    "Timer",
    "TimerHandle",
    "Unhandled",
    "current_actor",
    "current_chain",
    "current_ref",
    "current_system",
    "default_system",
    "exposed",
    "exposed_methods",
    "message",
    "message_name",
    "message_types",
    "receives",
    "upgrades",
]
