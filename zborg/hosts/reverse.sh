#!/bin/sh
# zborg-reverse: for a borgmatic host that takes another port each night. docs/reverse.md explains it.
#
# sshd runs this as root's forced command, before borgmatic and its own arguments:
#     restrict,port-forwarding,permitlisten="127.0.0.1:*",command="/usr/local/libexec/zborg-reverse borgmatic create" ssh-ed25519 AAAA...
# Arguments come from authorized_keys and are trusted. SSH_ORIGINAL_COMMAND is the server's, and becomes part of
# a command line (ssh_command, where it says ${ZBORG_PORT}): so it is a port and nothing else.
set -f -u

refuse() {
    printf 'zborg-reverse: refused: %s\n' "$1" >&2
    logger -t zborg-reverse -p auth.notice -- "refused: $1" >/dev/null 2>&1
    exit 2
}

[ $# -gt 0 ] || refuse "authorized_keys names no command"
ZBORG_PORT=${SSH_ORIGINAL_COMMAND-}
case $ZBORG_PORT in
'' | 0* | *[!0-9]* | ??????*) refuse "not a port" ;;
esac
unset SSH_ORIGINAL_COMMAND
export ZBORG_PORT
exec "$@"
