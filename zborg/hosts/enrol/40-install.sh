# --- What is made, each in one step that a kill cannot halve --------------------------------------------------

made=''
made() { # made KIND:PATH, as undo reads it
    made="$1$newline$made"
    printf 'made %s\n' "$1"
}
found() { printf 'kept %s\n' "$1"; }

fail() { # takes back what this run made
    trap '' HUP INT TERM PIPE
    printf 'zborg: %s\n' "$1" >&2
    undo_list
    exit 1
}

undo_list() { # newest first; says nothing, perhaps nobody listens
    IFS=$newline
    for one in $made; do
        unset IFS
        undo_one "$one" >/dev/null 2>&1
    done
    unset IFS
}

write() { # write FILE MODE TEXT, whole or not at all
    if printf '%s\n' "$3" >"$1.zborg-new" && chmod "$2" "$1.zborg-new" && mv -f "$1.zborg-new" "$1"; then return; fi
    rm -f "$1.zborg-new"
    fail "cannot write $1"
}

directory() { # directory PATH MODE
    [ -d "$1" ] && return
    mkdir -m "$2" "$1" || fail "cannot make $1"
    made "dir:$1"
}

install_agent() {
    directory "$libexec" 0755
    same_text "$(agent)" "$agent_file" && found "$agent_file" && return
    if [ -e "$agent_file" ]; then
        [ -e "$agent_file.before" ] || cp -p "$agent_file" "$agent_file.before" || fail "cannot keep the older $agent_file"
        write "$agent_file" 0755 "$(agent)"
        made "replaced:$agent_file"
    else
        write "$agent_file" 0755 "$(agent)"
        made "file:$agent_file"
    fi
}

agent_conf() {
    echo "# What is backed up of this host, and all else that is its own decision: docs/agent.md of zborg."
    echo "name = $name"
    printf '%s\n' "$paths" | sed 's/^/path = /'
    [ -z "$excludes" ] || printf '%s\n' "$excludes" | sed 's/^/exclude = /'
}

install_conf() {
    directory "$conf" 0700
    if [ -e "$conf/agent.conf" ]; then found "$conf/agent.conf"; else
        paths=${wanted_paths:-$(existing_paths)}
        write "$conf/agent.conf" 0600 "$(agent_conf)"
        made "file:$conf/agent.conf"
    fi
    if [ -z "$custodians" ] || [ -e "$conf/custodians" ]; then return; fi
    write "$conf/custodians" 0600 "$custodians"
    made "file:$conf/custodians"
}

install_passphrase() { # and the directories that the agent's setup would make: each is noted as it is made
    for place in "$state" "$run"; do
        [ -d "$place" ] && continue
        mkdir -m 0700 "$place" || fail "cannot make $place"
        made "tree:$place"
    done
    there=no
    [ ! -e "$conf/passphrase" ] || there=yes
    output=$("$agent_file" --setup "$name" 2>&1 </dev/null) || fail "the agent's setup fails: $output"
    if [ "$there" = yes ]; then found "$conf/passphrase"; else made "file:$conf/passphrase"; fi
}

keepalive_text="# zborg: sshd notices when the backup server is gone.
ClientAliveInterval 15
ClientAliveCountMax 4"

reload_sshd() { # by its own supervisor where there is one; without a running sshd there is nothing to reload
    for unit in ssh sshd; do
        if systemctl is-active --quiet "$unit" 2>/dev/null; then systemctl reload "$unit" && return; fi
    done
    pidfile=$(sshd_says pidfile)
    if [ -r "$pidfile" ]; then kill -HUP "$(cat "$pidfile")"; elif [ -x /etc/rc.d/sshd ]; then service sshd reload; fi
}

install_keepalive() {
    is_kept_alive && found "ClientAliveInterval" && return
    if [ -e "$dropin" ] || ! is_included; then return; fi # what is written elsewhere, above ours, may win: see probe
    write "$dropin" 0644 "$keepalive_text"
    made "sshd:$dropin"
    output=$(sshd -t 2>&1) || fail "sshd -t refuses $dropin: $output"
    reload_sshd >/dev/null 2>&1 || fail "sshd does not take its configuration again"
}

edit_keys() { # edit_keys COMMAND...: what it prints becomes the text, if it ends well; mode and owner stay
    if cp -p "$keys" "$keys.zborg-new" && "$@" >"$keys.zborg-new" && mv -f "$keys.zborg-new" "$keys"; then return; fi
    rm -f "$keys.zborg-new"
    return 1 # no pipe: what came out of a command that was killed would shut root out
}

with_line() { # a file without an end of line at its end would swallow ours
    cat "$keys" && { [ ! -s "$keys" ] || [ "$(tail -c 1 "$keys" | wc -l)" -eq 1 ] || echo; } && line_of "$1"
}

add_key() { # add_key KEY, with its comment
    keys=$(authorized_keys) || fail "sshd reads no keys"
    has_line "$1" && found "$keys" && return
    directory "${keys%/*}" 0700
    if [ ! -e "$keys" ]; then
        write "$keys" 0600 "$(line_of "$1")"
        made "file:$keys"
        return
    fi
    edit_keys with_line "$1" || fail "cannot write $keys"
    made "line:$(key_of "$1")"
}

drop_key() { # drop_key KEY: its lines with exactly our options, and no other line
    keys=$(authorized_keys) && [ -f "$keys" ] || return 0
    edit_keys sed "\\|$(line_of "$(key_of "$1")")|d" "$keys"
}

list_keys() {
    keys=$(authorized_keys) && [ -f "$keys" ] || return 0
    sed -n "s|^restrict,command=\"$agent_file\" \([^ ]* [^ ]*\).*|key \1|p" "$keys"
}

install_all() {
    trap 'fail "interrupted"' HUP INT TERM PIPE
    install_agent
    install_conf
    install_passphrase
    install_keepalive
    add_key "$server_key"
}

