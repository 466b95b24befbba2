"""A small module with one user is a file that a reader has to open for nothing, unless it says why.

A module of fewer than 60 lines of code that one other imports belongs into that one, or
stands here with the reason why it does not. What a package's own `__init__` imports is
for whoever uses the package, and so are modules that other packages import.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.architecture.sources import PRODUCT, module_name, nodes, text_of
from tests.architecture.test_house_rules import code_lines

if TYPE_CHECKING:
    import pathlib

FEWEST_LINES = 60

REASONS = {
    "actors._inline": "a turn with rules of its own, without which the usual one is read",
    "actors._run_queue": "who runs when, which a system need not know of its slots",
    "actors._system_options": "the rules of the options change with them, not with the system",
    "actors.calls": "the one place that names Pykka's message for a call of a method",
    "actors.testing.pytest_plugin": "an entry point: pytest imports it, and nobody of ours",
    "irismq_runtime.simulation.threads": "what a loop does in place of threads, beside its turns",
    "irismq_runtime.simulation.fault_plan": "a function of chance and dials, without deeds",
    "irismq_runtime.simulation.node_machine": "what runs on a machine, and runs again",
    "irismq_runtime.simulation.play": "one run, which tests play without the seeds around it",
    "irismq_runtime.simulation.rest": "a look at nodes, which waits for nothing",
    "irismq_runtime.simulation.databases": "files that are real, beside databases that are noted",
    "irismq_runtime.simulation.story": "text, pure: a trace in, lines out",
    "irismq_runtime.simulation.events": "virtual time, which knows nothing of a simulation",
    "irismq_runtime.cli.check": "a command of its own; the table in cli.main names it",
    "irismq_runtime.cli.demo": "a command of its own; the table in cli.main names it",
    "irismq_runtime.cli.nats_login": "needs the extra nats, which the other probes do without",
    "irismq_runtime.cli.pipe": "two threads and their locks, which a command should not show",
    "irismq_runtime.cli.process_exit": "signals and a timer thread outside of any loop",
    "irismq_runtime.cli.startup_progress": "has a decision of its own: when waiting is in vain",
    "irismq_runtime.cli.streams": "runs before anything else of ours may be imported",
    "irismq_runtime.cli.top.charts": "pure, and so tested without Textual, unlike the screen",
    "irismq_runtime.cli.top.orders": "a table of keys, which the rows are long enough without",
    "irismq_runtime.cli.workers.notices": "what comes from another process, and is not believed",
    "irismq_runtime.cli.workers.reload": "files and their times, without processes",
    "irismq_runtime.cli.load": "times and rates, tested on a made-up clock without a node",
    "irismq_runtime.cli.service_classes": "classes and trees, which no document is needed for",
    "irismq_runtime.demo.data": "an example is read file by file; this one is the input",
    "irismq_runtime.demo.store": "an example is read file by file; this one is the database",
    "irismq_runtime.cli.letter_rows": "the one place where a command deletes rows",
    "irismq_runtime.durability.crowding": "counts of the store, which who stages only looks up",
    "irismq_runtime.durability.wheel": "when to look, which rows and the engine need not know",
    "irismq_runtime.entities.process_place": "what the kernel says, which ownership need not read",
    "irismq_runtime.durability.loads": "waiting for the store, which an activation need not show",
    "irismq_runtime.durability.local_refs": "what a durable actor tells beside any transport",
    "irismq_runtime.embedded.nsqd.reserve": "blocking files, which the store is without otherwise",
    "irismq_runtime.embedded.relay.nats.permission_check": "for `check`; a relay runs without",
    "irismq_runtime.embedded.relay.tunnel_room": "a decision, pure: what each sender may have",
    "irismq_runtime.mailbox.connect.compression": "pure codings, which know no connection",
    "irismq_runtime.mailbox.consume.adaptive_rdy": "a decision, pure, tested without a connection",
    "irismq_runtime.mailbox.consume.condition": "a primitive of waiting that knows no consumer",
    "irismq_runtime.mailbox.consume.failure_backoff": "a decision, pure, tested without a broker",
    "irismq_runtime.mailbox.publish.bodies": "the check of what a caller gives, pure",
    "irismq_runtime.mailbox.publish.overload": "a decision over all brokers of a publisher",
    "irismq_runtime.mailbox.stall_detector": "a decision, pure, tested on a made-up clock",
    "irismq_runtime.node.inspection.health_monitor": "has a timer and a life of its own in a node",
    "irismq_runtime.node.membership.settling": "a timer with rules of its own, of one moment",
    "irismq_runtime.node.shutdown": "the phases of the end, in order, in one place to read",
    "irismq_runtime.pyiris.heartbeat": "a timer with rules of its own, for one connection",
    "irismq_runtime.refs.foreign": "the ask without envelopes, which the usual one need not know",
    "irismq_runtime.stores.memory.locks": "a primitive of waiting that knows no table",
    "irismq_runtime.stores.sqlite.schema": "the form on disk, step by step, never changed once out",
    "irismq_runtime.wire.direct": "a short cut for speed that may go without any other change",
    "supervisors._shutdown": "timers of the end of children, which decisions do without",
}


MODULES = {module_name(path): path for path in PRODUCT}


def imported(path: pathlib.Path) -> set[str]:
    """The modules of ours that a file imports, for types alone as well."""
    found = set()
    for imports in nodes(path, ast.Import):
        found |= {each.name for each in imports.names}
    for node in nodes(path, ast.ImportFrom):
        if node.module:
            for each in node.names:
                full = f"{node.module}.{each.name}"
                found.add(full if full in MODULES else node.module)
    return found & MODULES.keys()


def small_modules_of_one_user() -> dict[str, str]:
    """Module -> its one user; "" where none imports it."""
    users: dict[str, set[str]] = defaultdict(set)
    for user, path in MODULES.items():
        for module in imported(path):
            users[module].add(user)
    return {
        module: "".join(users[module])
        for module, path in MODULES.items()
        if path.name not in {"__init__.py", "__main__.py"}
        and len(users[module]) <= 1
        and users[module] != {module.rpartition(".")[0]}
        and code_lines(text_of(path)) < FEWEST_LINES
    }


def test_a_small_module_with_one_user_has_a_reason_and_no_other_has_one() -> None:
    small = small_modules_of_one_user()
    without = {one: user for one, user in small.items() if one not in REASONS}
    assert without == {}
    assert REASONS.keys() - small.keys() == set()


def test_a_reason_is_a_sentence() -> None:
    assert all(len(reason.split()) >= 4 for reason in REASONS.values())
