# --- Witness: checkpoints of the server's ledger (docs/proof.md) ----------------------------------------------
#
# The server gives one with a backup: it says how long its ledger is and what is in it, and is signed. This host
# cannot check it, and need not: kept here, it shows later whether the server rewrote its past. Text, and no more.

checkpoints=200 # lines that are kept, the newest: what the server takes for an answer has room for them
apart=43200     # seconds between two of them: a server that made some up would need 100 days to push out the others
checkpoint='[A-Za-z0-9][A-Za-z0-9./-]\{0,99\}@[1-9][0-9]\{0,17\}@[A-Za-z0-9+/]\{43\}=@[A-Za-z0-9+/]\{91\}='

is_checkpoint() { # ORIGIN@SIZE@ROOT@SIGNATURE, and nothing before or behind it: what the pattern says, without a process
    origin=${1%%@*} left=${1#*@}
    size=${left%%@*} left=${left#*@}
    root=${left%%@*} signature=${left#*@}
    [ "$1" = "$origin@$size@$root@$signature" ] || return 1
    case $origin in '' | [!A-Za-z0-9]* | *[!A-Za-z0-9./-]*) return 1 ;; esac
    case $size in '' | 0* | *[!0-9]*) return 1 ;; esac
    case $root in *[!A-Za-z0-9+/]*=) return 1 ;; *=) ;; *) return 1 ;; esac
    case $signature in *[!A-Za-z0-9+/]*=) return 1 ;; *=) ;; *) return 1 ;; esac
    [ "${#origin}" -le 100 ] && [ "${#size}" -le 18 ] && [ "${#root}" -eq 44 ] && [ "${#signature}" -eq 92 ]
}

is_witness() { # every line of it is TIME CHECKPOINT, and it is root's alone
    [ -f "$1" ] && [ -s "$1" ] && is_safe "$1" secret && [ "$(grep -c -v -x "[1-9][0-9]\{0,10\} $checkpoint" "$1")" = 0 ]
} 2>/dev/null

note_checkpoint() { # note_checkpoint CHECKPOINT: whatever becomes of it, the backup goes on
    witness_file=$state_dir/witness newest=''
    if [ -e "$witness_file" ] || [ -L "$witness_file" ]; then
        is_witness "$witness_file" || { say N_WITNESS "$witness_file is broken: the checkpoint of the server's ledger is not stored" && return; }
        newest=$(tail -n 1 "$witness_file")
        case $newest in *" $1") return ;; esac
        passed=$((now - ${newest%% *})) # below 0 the clock was set back: who knows when that was
        [ "$passed" -lt 0 ] || [ "$passed" -ge "$apart" ] || return
    fi
    # Whole or not at all: a line that a full disk had cut would spoil the file.
    if ! with_checkpoint "$1" 2>/dev/null >"$witness_file.new" || ! mv -f "$witness_file.new" "$witness_file" 2>/dev/null; then
        rm -f "$witness_file.new"
        say N_WITNESS "$witness_file cannot be written: the checkpoint of the server's ledger is not stored"
    fi
}

with_checkpoint() { { [ -z "$newest" ] || tail -n "$((checkpoints - 1))" "$witness_file"; } && printf '%s %s\n' "$now" "$1"; }

witness() { # prints what is kept, the oldest first; `end` shows that nothing is missing
    witness_file=$state_dir/witness lines=''
    if [ -e "$witness_file" ] || [ -L "$witness_file" ]; then
        is_witness "$witness_file" || die 68 E_BROKEN "broken: $witness_file"
        lines=$(tail -n "$checkpoints" "$witness_file")$newline
    fi
    printf 'witness\n%send\n' "$lines"
}

witness_state() { # for `version`: how many entries the newest checkpoint stands for
    witness_file=$state_dir/witness
    [ -e "$witness_file" ] || [ -L "$witness_file" ] || { echo "witness none" && return; }
    is_witness "$witness_file" || { echo "witness broken" && return; }
    newest=$(tail -n 1 "$witness_file") newest=${newest#*@}
    echo "witness ${newest%%@*}"
}

