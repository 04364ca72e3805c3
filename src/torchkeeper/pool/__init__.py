"""Workers as the front sees them: processes, their lives, and how many there are."""
