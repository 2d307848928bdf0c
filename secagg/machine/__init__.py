"""Parts that every protocol uses: message framing, ownership, stored state, claims and jobs."""
