"""The hall: who waits, and who goes next."""
