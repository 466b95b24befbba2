"""What the registered types look like, and what breaks when they change; what a service offers."""

from irismq_runtime.schema.comparison import Break, breaks_between
from irismq_runtime.schema.contract import Contract, contract_of, is_ours, version_of
from irismq_runtime.schema.description import FORMAT, Schema, describe, read_schema_untrusted
from irismq_runtime.schema.documents import Title, asyncapi, json_schema

__all__ = [
    "FORMAT",
    "Break",
    "Contract",
    "Schema",
    "Title",
    "asyncapi",
    "breaks_between",
    "contract_of",
    "describe",
    "is_ours",
    "json_schema",
    "read_schema_untrusted",
    "version_of",
]
