"""What crosses between the front process, the template and the workers: messages and their bytes."""
