"""The store in memory: a database that many clients may share, and the client."""

from irismq_runtime.stores.memory.client import MemoryStore
from irismq_runtime.stores.memory.database import STEPS, MemoryDatabase

__all__ = ["STEPS", "MemoryDatabase", "MemoryStore"]
