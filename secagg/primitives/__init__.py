"""One cryptographic algorithm a module, with nothing of any protocol in it."""
