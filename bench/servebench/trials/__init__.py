"""What is done to a server to see what it loses, and the figures that come of it.

A trial starts a server of its own, does one thing to it and gives its figures as numbers by their names. The
same code runs against both servers. `table` has all of them, in the order of the scorecard.
"""
