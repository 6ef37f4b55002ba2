"""Objects that the processes of one trial send each other: each is pickled, and none is unpickled that another process
of this machine may have put in its place.

`torch.distributed` listens on the loopback interface, which every account can connect to, and asks nobody who it is
(gloo in torch's own builds has no TLS). What its `all_gather_object` receives it unpickles, which runs code. Here a
message is unpickled only if it carries the code of a secret that the processes share through a closed folder.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
from typing import Any

SIZE = hashlib.sha256().digest_size


class ForgedMessage(RuntimeError):
    """Somebody else than the trial's processes has sent it."""


def sign(value: Any, secret: bytes, *, sender: int, number: int) -> bytes:
    """`value` as bytes, after a code over it.

    Args:
        secret: that sender and receivers share.
        sender: its rank.
        number: of the message, counted alike by all.
    """
    content = pickle.dumps(value)
    return _code(content, secret, sender, number) + content


def verify(message: bytes, secret: bytes, *, sender: int, number: int) -> Any:
    """The value in a message that `sign` has made.

    Raises:
        ForgedMessage: with another secret, by another sender, or as another message.
    """
    code, content = message[:SIZE], message[SIZE:]
    if not hmac.compare_digest(code, _code(content, secret, sender, number)):
        raise ForgedMessage(
            f"message {number} of process {sender} of this trial is not of that process: another account of this "
            "machine may interfere. Run where no stranger has an account, or with one GPU per trial."
        )
    return pickle.loads(content)


def _code(content: bytes, secret: bytes, sender: int, number: int) -> bytes:
    return hmac.digest(secret, f"{sender} {number} ".encode() + content, "sha256")
