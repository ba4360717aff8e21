"""The moment, by Redis's own clock: the hosts' clocks may differ by more than anybody may be silent."""


def milliseconds(time: tuple[int, int]) -> int:
    """Return what Redis's `TIME` answers, seconds and microseconds, in milliseconds."""
    seconds, micros = time
    return int(seconds) * 1000 + int(micros) // 1000
