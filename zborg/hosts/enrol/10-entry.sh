# The host's side of an enrolment: sh, run as root, fed through the operator's SSH session by `zborg host add` or
# printed by `zborg host bundle` for the host's owner to read and run. __init__.py puts a few variables above this
# text and the agent's own text below it. Everything is defined first and begun by the last line: a text that was cut
# off does nothing.
#
#   probe            looks, and changes nothing: one fact a line; "problem ..." is what must be fixed first
#   install          does what is missing; says "made ..." for what it made, "kept ..." for what it found
#   undo MADE...     takes back exactly that
#   finish           forgets what only an undo would need
#   keys             which public keys may call the agent
#   add-key KEY, drop-key KEY    a line of authorized_keys for the agent
#
# Above: name, server, server_key, fingerprint, url, wanted_paths, excludes, custodians (lists: one to a line).
# shellcheck shell=sh disable=SC2154

set -f -u
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
newline='
'
conf=/etc/zborg state=/var/lib/zborg run=/run/zborg libexec=/usr/local/libexec
[ -d /run ] || run=/var/run/zborg # FreeBSD
agent_file=$libexec/zborg-agent
dropin_dir=/etc/ssh/sshd_config.d
dropin=$dropin_dir/zborg.conf

