"""The embedded nsqd: NSQ's broker inside the process, for development and tests."""

from irismq_runtime.embedded.nsqd.directory import DataDirectoryError, DirectoryInUse
from irismq_runtime.embedded.nsqd.faults import NsqdFaults
from irismq_runtime.embedded.nsqd.options import NsqdOptions
from irismq_runtime.embedded.nsqd.server import EmbeddedNsqd

__all__ = ["DataDirectoryError", "DirectoryInUse", "EmbeddedNsqd", "NsqdFaults", "NsqdOptions"]
