# --- The tunnel: borg here, `borg serve` at the other end of our stdin and stdout ----------------------------
#
#   ssh -> stdin -> relay in rsh -> borg
#   borg -> relay in rsh -> stdout -> ssh
#
# borg runs rsh (BORG_RSH) as if it were ssh, and closes every other descriptor before. So rsh opens the pipes that sshd
# gave us once more, by our number in /proc. Where that cannot be (no Linux, a socket) there are two relays more:
#
#   ssh -> stdin -> relay -> FIFO down -> relay in rsh -> borg
#   borg -> relay in rsh -> FIFO up -> relay -> stdout -> ssh

# One direction, 0 to 1, until 0 ends. Pipes of 1 MiB and splice (no copy) are what makes this faster than cat.
# splice exists from Python 3.10 on Linux and refuses some files (EINVAL, 22): then read and write.
# shellcheck disable=SC2016 # Python, not sh: nothing is to be expanded
python_relay='import fcntl, os
for fd in 0, 1:
    try: fcntl.fcntl(fd, 1031, 1 << 20)  # F_SETPIPE_SZ
    except OSError: pass
try:
    try:
        while os.splice(0, 1, 1 << 20): pass
    except (AttributeError, OSError) as no:
        if getattr(no, "errno", 22) != 22: raise
        while True:
            data = memoryview(os.read(0, 1 << 20))
            if not data: break
            while data: data = data[os.write(1, data):]
except OSError: pass'

choose_relay() { # sets relay, a command line that goes into rsh too; the code holds no single quote
    relay='cat'
    in_path python3 || :
    python=$found
    case $connector:$python in
    cat:* | auto:) return ;;
    python:) die 127 E_NO_PYTHON "connector = python, but there is no python3" ;;
    esac
    # That it starts and has what it needs is found out once, and again after whatever did not end well.
    found=''
    [ ! -e "$state_dir/python" ] || IFS= read -r found <"$state_dir/python" || found=''
    if [ "$found" = "$python" ]; then
        relay='python'
    elif "$python" -I -S -c 'import fcntl' >/dev/null 2>&1; then
        relay='python'
        { echo "$python" >"$state_dir/python"; } 2>/dev/null
    fi
}

relay() { case $relay in python) exec "$python" -I -S -c "$python_relay" ;; *) exec cat ;; esac; }

write_rsh() { # write_rsh FILE BEGINNING: this opens 5 and 6, and removes what has served by then, so that kill -9 leaves nothing
    case $relay in python) copy="$python -I -S -c '$python_relay'" ;; *) copy='cat' ;; esac
    printf '%s\n' "$2" "$copy <&5 5<&- 6>&- &" "exec $copy >&6 5<&- 6>&-" >"$1"
}

# For rsh: borg descends from the agent, which so is alive, and its number no stranger's.
# shellcheck disable=SC2016 # for another sh
descends='owner=$PPID
until [ "$owner" = "$agent" ]; do
    parent=1
    while read -r word value; do case $word in PPid:) parent=$value ;; esac; done <"/proc/$owner/status"
    owner=$parent
    [ "$owner" -gt 1 ] || exit 1
done'

opens_again() { # whether descriptors 3 and 4 are pipes that /proc opens once more
    [ -p "/proc/$$/fd/3" ] && [ -p "/proc/$$/fd/4" ] && [ -r "/proc/$$/status" ] && true <"/proc/$$/fd/3" >"/proc/$$/fd/4"
} 2>/dev/null

connect() { # makes rsh, which has borg's ends of the stream of 3 and 4
    session_files="$session.log $session.out $session.rsh"
    if opens_again; then
        write_rsh "$session.rsh" "rm -f $session_files${newline}agent=$$$newline$descends${newline}exec 5</proc/$$/fd/3 6>/proc/$$/fd/4"
        return
    fi
    mkfifo "$session.down" "$session.up" || die 2 E_WRITE "cannot make a FIFO in $run_dir"
    session_files="$session_files $session.down $session.up"
    write_rsh "$session.rsh" "exec 5<$session.down 6>$session.up${newline}rm -f $session_files"
    # We keep no end of the stream here: an end that we held would never be seen to end.
    (exec 9>&- 7<&- 4>&- <&3 3<&- && exec >"$session.down" && relay) &
    relay_in=$!
    (exec 9>&- 7<&- 3<&- >&4 4>&- && exec <"$session.up" && relay) &
    relay_out=$!
    exec 3<&- 4>&-
}

