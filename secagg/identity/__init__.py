"""Identities: long-lived signing keys, directories of pinned keys, their files and command."""
