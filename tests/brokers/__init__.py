"""The suite's core on brokers other than Redis. The gate's Redis stays; only the broker's URL changes."""
