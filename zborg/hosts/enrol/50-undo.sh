# --- What is taken back -------------------------------------------------------------------------------------

undo_one() { # undo_one KIND:WHAT
    what=${1#*:}
    case $1 in
    dir:*) [ ! -d "$what" ] || rmdir "$what" ;;
    file:*) rm -f "$what" ;;
    replaced:*) [ ! -e "$what.before" ] || mv -f "$what.before" "$what" ;;
    tree:"$state" | tree:"$run") rm -rf "$what" ;;
    sshd:"$dropin") rm -f "$dropin" && reload_sshd ;;
    line:*) drop_key "$what" ;;
    repository:*) forget_repository ;;
    *) false ;;
    esac
}

forget_repository() { # of an init whose repository is gone: its key opens nothing
    [ -e "$state/repository-id" ] || return 0
    id=$(cat "$state/repository-id")
    case $id in '' | *[!0-9a-f]*) return 1 ;; esac
    set +f
    for key in "$state/borg/.config/borg/keys"/*; do
        read -r line <"$key" && case $line in "BORG_KEY $id") rm -f "$key" ;; esac
    done
    set -f
    rm -rf "$state/borg/.config/borg/security/$id" "$state/borg/.cache/borg/$id" "$state/repository-id"
}

undo() {
    failed=0
    for one in "$@"; do undo_one "$one" >/dev/null || { failed=1 && printf 'stays %s\n' "${one#*:}"; }; done
    return "$failed"
}

finish() { rm -f "$agent_file.before"; }

