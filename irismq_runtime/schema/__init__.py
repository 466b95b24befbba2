"""What the registered types look like, as a file that is kept with the code, and compared."""

from irismq_runtime.schema.comparison import Break, breaks_between
from irismq_runtime.schema.description import FORMAT, Schema, describe, read_schema_untrusted

__all__ = ["FORMAT", "Break", "Schema", "breaks_between", "describe", "read_schema_untrusted"]
