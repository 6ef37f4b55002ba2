"""Authenticated messages between the processes of one trial: pickles with an HMAC, verified before unpickling.

`torch.distributed` listens on the loopback interface without authentication (gloo in torch's builds has no TLS), so
every account of the machine can connect. Its `all_gather_object` unpickles what it receives, which runs code. Here a
message is unpickled only if its HMAC matches a secret that the processes share through a closed folder.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
from typing import Any

SIZE = hashlib.sha256().digest_size


class ForgedMessage(RuntimeError):
    """A message does not come from the process of the trial that it should come from."""


def sign(value: Any, secret: bytes, *, sender: int, number: int) -> bytes:
    """Pickles `value` and prepends an HMAC.

    Args:
        value: any picklable object.
        secret: shared by sender and receivers.
        sender: the sender's rank.
        number: of the message; all processes count the same.
    """
    content = pickle.dumps(value)
    return _code(content, secret, sender, number) + content


def verify(message: bytes, secret: bytes, *, sender: int, number: int) -> Any:
    """Verifies a message of `sign` and returns its value.

    Raises:
        ForgedMessage: secret, sender or number differ.
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
