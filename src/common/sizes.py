"""Numbers of bytes, for people."""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def in_words(size: int) -> str:
    """Write a size with three digits or so: 999 bytes, 1.5 KiB, 20 MiB."""
    value, unit = float(size), 0
    while value >= 1023.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit and value < 99.95 else f"{value:.0f} {_UNITS[unit]}"
