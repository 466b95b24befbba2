"""A service as JSON Schema (draft 2020-12) and as AsyncAPI 3.0. Pure: contracts in, JSON out.

A value is described in its form in JSON: so `irismq tell` and `ask` take it, and programs in
other languages that send JSON. Between nodes it is msgpack in an envelope, as
docs/protocol.md says. What of a service is where in AsyncAPI:

    channel ADDRESS.mailbox    the topic of NSQ that `tell` stores in
    channel ADDRESS.members    the cluster of Iris that `ask` reaches a member of
    channel ADDRESS.answers    what asks get back
    channel topic.NAME         a topic that is listened to, durable or live
    operation ADDRESS.handle   what is stored is handled
    operation ADDRESS.ask.TYPE   a request, and its answer where it is known
    x-irismq                   what AsyncAPI has no word for: transport, channel, shards, methods

Names are keys there, and so the few characters that AsyncAPI has none for become `_`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from actors.messages import is_model, message_name
from actors.texts import line_of
from irismq_runtime.errors import ConfigError
from irismq_runtime.protocols.nsq import mailbox_topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from irismq_runtime.schema.contract import AnswerType, Contract, TopicContract

__all__ = ["Title", "asyncapi", "json_schema"]

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_ASYNCAPI: Final = "3.0.0"
_SCHEMAS: Final = "#/components/schemas/"
_MESSAGES: Final = "#/components/messages/"
#: What may stand in the key of a component.
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]")
_ENVELOPE: Final = (
    "Payloads are shown in their form in JSON. Nodes of irismq-runtime exchange them as msgpack "
    "in an envelope with headers; see its docs/protocol.md."
)


class Title(NamedTuple):
    """What a document is of: the name of the service, and its version."""

    name: str
    version: str


def json_schema(contracts: Sequence[Contract], title: Title) -> dict[str, Any]:
    """Describe all messages of a service: each is one of `anyOf`, by its name on the wire.

    Raises `ConfigError` for a class whose fields have no meaning.
    """
    kinds = _kinds(contracts)
    shown, definitions = _schemas(kinds.values(), "#/$defs/")
    return {
        "$schema": _DRAFT,
        "title": f"Messages of {title.name}",
        "anyOf": [{"title": name, **shown[kind]} for name, kind in kinds.items()],
        "$defs": definitions,
    }


def asyncapi(contracts: Sequence[Contract], title: Title) -> dict[str, Any]:
    """Describe a service: its addresses, topics, messages and answers.

    Raises `ConfigError` for a class whose fields have no meaning.
    """
    kinds = _kinds(contracts)
    answers = [
        answer.type
        for contract in contracts
        for answer in contract.messages.values()
        if answer.kind in ("value", "stream")
    ]
    shown, definitions = _schemas([*kinds.values(), *answers], _SCHEMAS)
    document = _Document(shown)
    for contract in contracts:
        document.add(contract)
    return {
        "asyncapi": _ASYNCAPI,
        "info": {
            "title": title.name,
            "version": title.version or "0",
            "description": _ENVELOPE,
        },
        "defaultContentType": "application/msgpack",
        "channels": document.channels,
        "operations": document.operations,
        "components": {
            "messages": document.messages,
            "schemas": {name: _as_draft_7(each) for name, each in definitions.items()},
        },
    }


class _Document:
    """The parts of an AsyncAPI document that grow with each contract."""

    def __init__(self, shown: _Shown) -> None:
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}
        self._shown = shown
        self._names: dict[str, str] = {}

    def add(self, contract: Contract) -> None:
        for kind in contract.messages:
            name = message_name(kind) or ""
            self.messages[self._key(name)] = self._message(name, kind)
        if contract.address:
            self._add_address(contract)
        for topic in contract.topics:
            self._add_topic(contract, topic)

    def _message(self, name: str, kind: type) -> dict[str, Any]:
        described = {"name": name, "title": name, "payload": self._payload(kind)}
        text = (kind.__doc__ or "").strip().partition("\n")[0]
        # A dataclass without a docstring is given its signature as one.
        if text and not text.startswith(f"{kind.__name__}("):
            described["summary"] = text
        return described

    def _payload(self, kind: Any) -> dict[str, Any]:
        found: dict[str, Any] = _as_draft_7(self._shown[kind])
        return found

    def _add_address(self, contract: Contract) -> None:
        address, types = contract.address, [message_name(kind) or "" for kind in contract.messages]
        nsq: dict[str, Any] = {"transport": "nsq", "channel": "mailbox"}
        if contract.shards:
            nsq["shards"] = contract.shards
        iris: dict[str, Any] = {"transport": "iris"}
        if contract.exposed:
            iris["exposed"] = list(contract.exposed)
        mailbox = self._channel(f"{address}.mailbox", mailbox_topic(address), types, nsq)
        members = self._channel(f"{address}.members", address, types, iris)
        self.operations[self._key(f"{address}.handle")] = self._receive(mailbox, types)
        for kind, answer in contract.messages.items():
            name = message_name(kind) or ""
            operation = self._receive(members, [name])
            if answer.kind != "unknown":
                operation["reply"] = self._reply(address, name, answer)
            self.operations[self._key(f"{address}.ask.{name}")] = operation

    def _add_topic(self, contract: Contract, topic: TopicContract) -> None:
        types = [message_name(kind) or "" for kind in contract.messages]
        name = mailbox_topic(topic.topic) if topic.is_durable else topic.topic
        marks: dict[str, Any] = {"transport": "iris"}
        if topic.is_durable:
            own = mailbox_topic(contract.address or contract.actor_class.__name__)
            marks = {"transport": "nsq", "channel": topic.channel or own}
        channel = self._channel(f"topic.{topic.topic}", name, types, marks)
        listener = contract.address or contract.actor_class.__name__
        self.operations[self._key(f"{listener}.listen.{topic.topic}")] = self._receive(
            channel, types
        )

    def _channel(self, name: str, address: str, types: Iterable[str], marks: Any) -> str:
        """Make a channel, or add to the one that is there; returns its key."""
        key = self._key(name)
        channel = self.channels.setdefault(
            key, {"address": address, "title": name, "messages": {}, "x-irismq": marks}
        )
        channel["messages"] |= {self._key(each): _ref(_MESSAGES, self._key(each)) for each in types}
        return key

    def _receive(self, channel: str, types: Iterable[str]) -> dict[str, Any]:
        return {
            "action": "receive",
            "channel": _ref("#/channels/", channel),
            "messages": [self._in(channel, each) for each in types],
        }

    def _reply(self, address: str, name: str, answer: AnswerType) -> dict[str, Any]:
        said = f"{address}.{name}.answer"
        message: dict[str, Any] = {"name": said, "title": f"The answer of {address} to {name}"}
        message["payload"] = {"type": "null"}
        if answer.kind != "nothing":
            message["payload"] = self._payload(answer.type)
        if answer.kind == "stream":
            message["summary"] = "Each item of a stream, which comes over a tunnel of Iris."
        self.messages[self._key(said)] = message
        channel = self._channel(f"{address}.answers", "", [said], {"transport": "iris"})
        self.channels[channel]["address"] = None  # to whoever asked
        return {"channel": _ref("#/channels/", channel), "messages": [self._in(channel, said)]}

    def _in(self, channel: str, name: str) -> dict[str, str]:
        return _ref("#/channels/", f"{channel}/messages/{self._key(name)}")

    def _key(self, name: str) -> str:
        """The key of a name, which no other name has."""
        key = _ODD.sub("_", name)
        while self._names.setdefault(key, name) != name:
            key += "_"
        return key


def _ref(place: str, key: str) -> dict[str, str]:
    return {"$ref": f"{place}{key}"}


def _kinds(contracts: Iterable[Contract]) -> dict[str, type]:
    """The classes of all messages by their names, sorted."""
    found = {message_name(kind) or "": kind for each in contracts for kind in each.messages}
    return dict(sorted(found.items()))


class _Shown:
    """The schemas of types, which need not be hashable."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Any, dict[str, Any]]] = []

    def __getitem__(self, kind: Any) -> dict[str, Any]:
        return next(schema for each, schema in self._pairs if each is kind or each == kind)

    def add(self, kinds: Iterable[Any], schemas: Iterable[dict[str, Any]]) -> None:
        self._pairs += zip(kinds, schemas, strict=True)


class _Models:
    """The schemas of pydantic's models, which pydantic makes; fields by their own names."""

    def __init__(self, place: str) -> None:
        self.components: dict[str, Any] = {}
        self._kinds: dict[str, type] = {}
        self._template = f"{place}{{model}}"

    def __call__(self, kind: Any) -> dict[str, Any]:
        """The schema of a class that msgspec does not know. Raises `NotImplementedError`."""
        if not is_model(kind):
            raise NotImplementedError
        model: Any = kind  # pydantic need not be installed
        name: str = model.__name__
        if self._kinds.setdefault(name, kind) is not kind:
            raise TypeError(f"two models are called {name}")
        if name not in self.components:
            made = model.model_json_schema(by_alias=False, ref_template=self._template)
            self.components |= made.pop("$defs", {})
            if made.keys() != {"$ref"}:  # as it is of one that holds itself
                self.components[name] = made
        return {"$ref": self._template.format(model=name)}


def _schemas(kinds: Iterable[Any], place: str) -> tuple[_Shown, dict[str, Any]]:
    """The schema of each type, and of what they name at `place`. Raises `ConfigError`."""
    shown, known, models = _Shown(), [], _Models(place)

    def parts(kinds: list[Any]) -> Any:
        template = f"{place}{{name}}"
        return msgspec.json.schema_components(kinds, schema_hook=models, ref_template=template)

    for kind in kinds:
        try:
            parts([kind])
        except Exception as error:  # hints are the user's, and evaluate to anything
            if message_name(kind) is not None:
                problem = f"{message_name(kind)!r} has no JSON Schema: {line_of(error)}"
                raise ConfigError("MODULES", problem, "mend the hints of its class") from error
            shown.add([kind], [{"description": f"{kind}"}])
        else:
            known.append(kind)
    schemas, components = parts(known)
    shown.add(known, schemas)
    if twice := components.keys() & models.components.keys():
        problem = f"two classes are called {min(twice)}, a model and another one"
        raise ConfigError("MODULES", problem, "give one of them another name")
    return shown, components | models.components


def _as_draft_7(schema: Any) -> Any:
    """The same as AsyncAPI reads it, which is JSON Schema of draft 7 and a little more."""
    if isinstance(schema, list):
        return [_as_draft_7(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "prefixItems" in schema:  # a tuple
        others = {key: value for key, value in schema.items() if key != "prefixItems"}
        schema = {**others, "items": schema["prefixItems"], "additionalItems": False}
    if "$ref" in schema and len(schema) > 1:  # what stands beside it is not read
        others = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**others, "allOf": [{"$ref": schema["$ref"]}]}
    return {key: _as_draft_7(value) for key, value in schema.items()}
