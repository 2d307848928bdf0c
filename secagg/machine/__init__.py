"""What every protocol needs and none owns: framing of bytes, ownership, stored state, jobs."""
