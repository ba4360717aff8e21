"""What the tests stand on: real servers, real processes, and a way to wait for events without sleeping."""
