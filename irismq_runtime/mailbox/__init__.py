"""A client of NSQ: publishes until the broker confirms, consumes under leases.

The durable half of a node (`ports.MailboxTransport`), usable without actors.
"""

from irismq_runtime.mailbox.config import MailboxConfig
from irismq_runtime.mailbox.connect.probe import why_refused
from irismq_runtime.mailbox.receipts import PublishReceipt
from irismq_runtime.mailbox.transport import NsqMailbox

__all__ = ["MailboxConfig", "NsqMailbox", "PublishReceipt", "why_refused"]
