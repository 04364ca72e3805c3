"""What model authors see: handlers, their context, and what they are given to build on."""
