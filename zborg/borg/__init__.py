"""borg's and borgmatic's words, exit states and files, on hosts and on the storage."""
