"""From the flags of any command to its exit code: options, composition, output, progress."""
