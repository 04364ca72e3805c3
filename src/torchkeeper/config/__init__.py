"""What was asked for: settings, their files, and what a model may be told, merged once."""
