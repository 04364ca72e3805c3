"""Who may ask: token keys, their files, and guesses slowed down."""
