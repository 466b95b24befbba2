"""The durable mailbox: an NSQ client that keeps what it is told to keep."""

from irismq_runtime.mailbox.config import MailboxConfig
from irismq_runtime.mailbox.connect.probe import why_refused
from irismq_runtime.mailbox.receipts import PublishReceipt
from irismq_runtime.mailbox.transport import NsqMailbox

__all__ = ["MailboxConfig", "NsqMailbox", "PublishReceipt", "why_refused"]
