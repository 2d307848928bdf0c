"""Who is who: long-lived signing keys, pinned directories, their files and their command."""
