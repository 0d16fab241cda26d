# --- Lending: the tunnel for a borg that root here runs by hand ---------------------------------------------

lend() { # lend REPO: one connection to what the server serves; root's borg takes it, whenever that comes
    own_directory "$run_dir"
    choose_relay
    lender=$(cat "$run_dir/lend/pid" 2>/dev/null) && is_agent "$lender" && busy "$lender"
    set +f
    let_go "$run_dir"/lend/* # of one that was killed
    set -f
    rm -rf "$run_dir/lend"
    lending=$run_dir/lend
    if ! mkdir "$lending" || ! echo $$ >"$lending/pid"; then die 2 E_WRITE "cannot make a directory in $run_dir"; fi
    mkfifo "$lending/down" "$lending/up" || die 2 E_WRITE "cannot make a FIFO in $run_dir"
    write_rsh "$lending/rsh.new" "exec 5<$lending/down 6>$lending/up${newline}rm -rf $lending"
    mv "$lending/rsh.new" "$lending/rsh" # whole, for who waits for it
    exec 3<&0 4>&1 </dev/null >/dev/null # as in tunnel
    # Opened for both directions a FIFO does not wait for borg, so it is noticed when the server goes away. All else
    # follows from that end: borg's own end reaches the server, which ends its `borg serve`, and with it our stdin.
    # sshd passes the end of our output on only once nobody holds stderr either, hence /dev/null.
    (exec 8>&- 4>&- <&3 3<&- 1<>"$lending/down" 2>/dev/null && relay) &
    relay_in=$!
    (exec 8>&- 3<&- >&4 4>&- 2>/dev/null && exec <"$lending/up" && relay) &
    relay_out=$!
    exec 3<&- 4>&- 2>/dev/null
    wait "$relay_in"
    relay_in=''
}

refuse_borg() { # borg drops what we say if our stdout ends before it has read it
    say "refused: $1"
    note "refused: $1"
    sleep 1
    exit 2
}

refuse_to_write() { # refuse_to_write PID: the borg that asks for a connection. Its first word that is a command decides.
    lines=$(ps -A -o pid= -o args= 2>/dev/null) || return 0
    lines=$(printf '%s\n' "$lines" | grep "^ *$1 ")
    for word in $lines; do
        case $word in
        create | delete | prune | rename | recreate | compact | import-tar | init | upgrade)
            refuse_borg "borg $word: what is lent is a copy of an older state, for reading; it goes with all that is written to it" ;;
        list | info | extract | mount | diff | export-tar | check | key | debug | with-lock | break-lock) return ;;
        esac
    done
}

lent() { # borg's BORG_RSH: after each command the server lends again, a moment later
    refuse_to_write "$PPID"
    tries=0
    while [ ! -e "$run_dir/lend/rsh" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 8 ] || refuse_borg "nothing is lent here; on the backup server: zborg restore serve $name"
        sleep 1
    done
    exec "$sh" "$run_dir/lend/rsh"
}

borg_env() { # what root's shell has to know; for reading only, so borg remembers nothing of it
    own_directory "$state_dir"
    rm -rf "$state_dir/by-hand"
    own_directory "$state_dir/by-hand"
    case $confdir in /etc/zborg) rsh="$0 --lent" ;; *) rsh="$0 $confdir --lent" ;; esac
    printf "export %s='%s'\n" BORG_REPO "ssh://$name/./$name" BORG_RSH "$rsh" BORG_BASE_DIR "$state_dir/by-hand" \
        BORG_KEYS_DIR "$keys" BORG_PASSCOMMAND "$BORG_PASSCOMMAND"
}

