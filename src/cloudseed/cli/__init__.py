"""What a person types.  One module a command, each with `run(argv) -> exit code`."""
