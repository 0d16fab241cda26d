"""borg's and borgmatic's output, exit codes and files, on hosts and on the storage."""
