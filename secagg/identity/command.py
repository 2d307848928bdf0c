"""``python -m secagg identity``: signing keys and directories from a shell."""

import argparse
import contextlib
import getpass
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..codes import Code
from ..errors import IdentityError, ParameterError
from ..files import locked_folder, why_failed
from ..primitives.secret import Secret
from .directory import Directory
from .files import open_without_waiting
from .identity import Identity, fingerprint
from .key_file import LARGEST_IDENTITY, says_identity

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_to(commands: "Subparsers") -> None:
    """Adds the command to a parser.

    The parsed options have an attribute `run`: a function that takes them and does the work, and
    raises `SecAggError` on bad input.
    """
    text = "Make and show identities, and pin the keys of others."
    identity = commands.add_parser("identity", help=text, description=text)
    actions = identity.add_subparsers(required=True, metavar="new|show|pin|fingerprint")

    text = "Make an identity and show its verify key. Never overwrites a file."
    new = actions.add_parser("new", help=text, description=text)
    new.add_argument("file", type=Path, metavar="FILE")
    source = new.add_mutually_exclusive_group()
    source.add_argument(
        "--passphrase-prompt", action="store_true", help="ask twice for a passphrase"
    )
    source.add_argument(
        "--passphrase-stdin",
        action="store_true",
        help="read the passphrase from the first line of standard input",
    )
    new.set_defaults(run=_new)

    text = "Show the verify key and the fingerprint of an identity; needs no passphrase."
    show = actions.add_parser("show", help=text, description=text)
    show.add_argument("file", type=Path, metavar="FILE")
    show.set_defaults(run=_show)

    text = "Change a directory of pinned keys: without an option, add a party at the next index."
    pin = actions.add_parser("pin", help=text, description=text)
    pin.add_argument("directory", type=Path, metavar="DIRECTORY_FILE")
    pin.add_argument("name", metavar="NAME")
    pin.add_argument("verify_key", nargs="?", metavar="VERIFY_KEY", help="64 hexadecimal digits")
    change = pin.add_mutually_exclusive_group()
    change.add_argument(
        "--rotate", action="store_true", help="replace the party's key and revoke the old one"
    )
    change.add_argument("--revoke", action="store_true", help="remove the party and revoke its key")
    change.add_argument(
        "--leave", action="store_true", help="remove the party; its key may be pinned again"
    )
    pin.set_defaults(run=_pin)

    text = "Show the fingerprint of a directory, or of an identity, to compare by telephone."
    compare = actions.add_parser("fingerprint", help=text, description=text)
    compare.add_argument("file", type=Path, metavar="FILE")
    compare.set_defaults(run=_fingerprint)


def _write(verify_key: bytes, before: str = "") -> None:
    text = f"verify key   {verify_key.hex()}\nfingerprint  {fingerprint(verify_key)}\n"
    sys.stdout.write(before + text)


@contextlib.contextmanager
def _saved(what: str) -> Iterator[None]:
    """Adds what was done to the error of an output that cannot be written."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; {what}") from None


def _passphrase(options: argparse.Namespace) -> str | None:
    try:
        if options.passphrase_stdin:
            return sys.stdin.readline().removesuffix("\n")
        if not options.passphrase_prompt:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            given = getpass.getpass("Passphrase: ")
            if given == getpass.getpass("Again: "):
                return given
    except getpass.GetPassWarning:
        raise ParameterError(
            "there is no terminal to ask for a passphrase; use --passphrase-stdin", Code.PASSPHRASE
        ) from None
    except (EOFError, UnicodeDecodeError):
        raise ParameterError(
            "no passphrase could be read: the input ended, or is not UTF-8", Code.PASSPHRASE
        ) from None
    raise ParameterError("the two passphrases differ; run the command again", Code.PASSPHRASE)


def _new(options: argparse.Namespace) -> None:
    if os.path.lexists(options.file):  # before the user types a passphrase; `save` checks again
        raise IdentityError(
            f"{options.file}: the file exists already; choose another name, or move it away",
            Code.EXISTS,
        )
    identity = Identity.generate()
    identity.save(options.file, _passphrase(options))
    with _saved(f"the key was saved; see it with `identity show {options.file}`"):
        _write(identity.verify_key)


def _show(options: argparse.Namespace) -> None:
    try:
        key = Identity.stored_verify_key(options.file)
    except IdentityError as error:
        if error.code is not Code.PERMISSIONS or _says_identity(options.file):
            raise
        raise IdentityError(
            f"{options.file}: this is not an identity of secagg; for pins use `fingerprint`",
            Code.FOREIGN_FILE,
        ) from None
    _write(key)


def _pin(options: argparse.Namespace) -> None:
    name, removes = options.name, options.revoke or options.leave
    if removes != (options.verify_key is None):
        wanted = "takes no VERIFY_KEY" if removes else "needs a VERIFY_KEY"
        raise ParameterError(f"this change {wanted}; see `pin --help`", Code.ARGUMENT)
    key = b"" if removes else _read_key(options.verify_key)
    with contextlib.ExitStack() as stack:
        folder = options.directory.parent
        try:
            stack.enter_context(locked_folder(folder))
        except (OSError, ValueError) as error:
            raise IdentityError(f"{folder}: {why_failed(folder, error)}", Code.IO) from None
        if os.path.lexists(options.directory) or removes or options.rotate:
            before = Directory.load(options.directory)
        else:
            before = Directory()
        if options.revoke:
            after = before.revoke(name)
        elif options.leave:
            after = before.leave(name)
        elif options.rotate:
            after = before.rotate(name, key)
        else:
            after = before.join(name, key)
        after.save(options.directory)
    with _saved(f"the change was saved; see it with `identity fingerprint {options.directory}`"):
        if removes:
            sys.stdout.write(f"the index of those after {name} is now lower by 1\n")
        else:
            _write(key, f"{name} is party {after.index_of(key)}\n")
        _write_directory(after)


def _write_directory(directory: Directory) -> None:
    sys.stdout.write(f"parties      {len(directory)}\ndirectory    {directory.fingerprint}\n")


def _fingerprint(options: argparse.Namespace) -> None:
    if _says_identity(options.file):
        key = Identity.stored_verify_key(options.file)
        sys.stdout.write(f"fingerprint  {fingerprint(key)}\n")
    else:
        _write_directory(Directory.load(options.file))


def _says_identity(path: Path) -> bool:
    """Returns whether a file begins like an identity's.

    It is read without a check, to know which rule it must follow. The one that `load` then applies
    refuses what is something else by then, or cannot be read.
    """
    with contextlib.suppress(OSError), open(path, "rb", 0, opener=open_without_waiting) as stream:
        return says_identity(Secret(stream.read(LARGEST_IDENTITY) or b""))
    return False


def _read_key(text: str) -> bytes:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ParameterError(
            f"VERIFY_KEY must be 64 hexadecimal digits; this text has {len(text)} characters",
            Code.ARGUMENT,
        )
    return bytes.fromhex(text)
