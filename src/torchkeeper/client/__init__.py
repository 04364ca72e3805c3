"""A server driven from another program: started, asked and stopped."""
