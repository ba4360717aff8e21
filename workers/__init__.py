"""One worker entry per queue, so that each can be switched off alone."""
