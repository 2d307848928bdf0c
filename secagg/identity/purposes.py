"""The purposes of a signing key. What is signed for one purpose is never what another one signs.

Otherwise an application that signs what others choose, such as the challenge of a login, would sign
statements of the protocol for them.
"""

from enum import Enum
from typing import Final

from ..codes import Code
from ..errors import ParameterError
from ..primitives.labels import DIGEST_BYTES

# Longer than a digest, so that no message of an application can be one.
APPLICATION_PREFIX: Final = b"secagg: signed for an application, v1\n"


class Purpose(Enum):
    """The purpose of a signature.

    A purpose that is added must sign texts that begin differently and are no 32 bytes long, such as
    those of DSSE, which begin with `DSSEv1 `.

    Attributes:
        APPLICATION: anything that the application wants to have signed; `APPLICATION_PREFIX` stands
            before it.
        PROTOCOL: a digest of the protocol, 32 bytes, which is signed as it is (wire v1).
    """

    APPLICATION = "application"
    PROTOCOL = "protocol"


def signed_bytes(purpose: Purpose, message: bytes) -> bytes:
    """Returns the bytes that are signed, given a message for this purpose.

    Raises:
        ParameterError: the message is not bytes, or not a digest where the purpose needs one.
    """
    if not isinstance(message, bytes):
        raise ParameterError(
            f"a message to sign must be bytes, not {type(message).__name__}", Code.ARGUMENT
        )
    if purpose is Purpose.APPLICATION:
        return b"".join((APPLICATION_PREFIX, message))
    if len(message) != DIGEST_BYTES:
        raise ParameterError(
            f"the protocol signs digests of {DIGEST_BYTES} bytes, not {len(message)} bytes",
            Code.ARGUMENT,
        )
    return message
