# The host's side of an enrolment: sh, run as root, fed through the operator's SSH session by `zborg host add` or
# printed by `zborg host bundle` for the host's owner to read and run. enrol.py puts a few variables above this text
# and the agent's own text below it. Everything is defined first and begun by the last line: a text that was cut off
# does nothing.
#
#   probe            looks, and changes nothing: one fact a line; "problem ..." is what must be mended first
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

# --- What there is ------------------------------------------------------------------------------------------

problem() { printf 'problem %s\n' "$1"; }
remark() { printf 'remark %s\n' "$1"; }
fact() { printf '%s %s\n' "$1" "$2"; }

sshd_facts() { # for root's logins; a Match block may ask for the port
    port=${SSH_CONNECTION-}
    port=${port##* }
    sshd -T -C "user=root,host=zborg,addr=127.0.0.1,laddr=127.0.0.1,lport=${port:-22}" 2>/dev/null
}

sshd_says() { sshd_facts | sed -n "s/^$1 //p"; } # sshd_says KEY, in small letters: its values, one a line

root_home() { printf '%s\n' ~root; }

authorized_keys() { # the file that sshd reads root's keys from; links are followed, so that the link stays
    file=$(sshd_says authorizedkeysfile | head -n 1)
    file=${file%% *}
    [ -n "$file" ] || file=.ssh/authorized_keys
    case $file in none) return 1 ;; esac
    file=$(printf '%s\n' "$file" | sed "s|%h|$(root_home)|g; s|%u|root|g; s|%%|%|g")
    case $file in /*) ;; *) file=$(root_home)/$file ;; esac
    readlink -f "$file" 2>/dev/null || printf '%s\n' "$file"
}

key_of() { printf '%s\n' "$1" | cut -d' ' -f1,2; } # a public key without its comment
line_of() { printf 'restrict,command="%s" %s\n' "$agent_file" "$1"; }

# Lines are found with sed, which takes every byte for text. grep says "binary file" of one NUL, and no line.
has_line() { # has_line KEY: with exactly our options
    keys=$(authorized_keys) && [ -f "$keys" ] && [ -n "$(sed -n "\\|^$(line_of "$(key_of "$1")")|p" "$keys")" ]
}

has_other_line() { # has_other_line KEY: with other options
    ours=$(line_of "$(key_of "$1")")
    [ -f "$keys" ] && [ -n "$(sed -n "/^[[:blank:]]*#/d; \\|^$ours|d; \\|$(key_of "$1")|p" "$keys")" ]
}

borg_version() { borg --version </dev/null 2>/dev/null | sed -n 's/^borg \([0-9][0-9.]*\).*/\1/p'; }

existing_paths() { # what to back up when nobody said: what is there and is no link
    for path in /etc /home /opt /root /srv /usr/local /var; do
        if [ -d "$path" ] && [ ! -L "$path" ]; then printf '%s\n' "$path"; fi
    done
}

is_included() { # does sshd read the directory of drop-ins?
    [ -d "$dropin_dir" ] && grep -Eiq '^[[:space:]]*Include[[:space:]=].*/sshd_config\.d/' /etc/ssh/sshd_config
}

public_half() { # of a host key whose .pub is gone, too
    cut -d' ' -f1,2 "$1.pub" 2>/dev/null || ssh-keygen -y -P '' -f "$1" 2>/dev/null | cut -d' ' -f1,2 | grep .
}

host_keys() { # every public key that an sshd here may show, each with its file
    set +f
    for file in $(sshd_says hostkey) /etc/ssh/ssh_host_*_key; do
        half=$(public_half "$file") && fact key "$file $half"
    done
    set -f
}

host_key() { # the public key that sshd shows, ed25519 first
    for kind in ed25519 ecdsa rsa; do
        for file in $(sshd_says hostkey); do
            case $file in *"$kind"*) public_half "$file" && return ;; esac
        done
    done
    for file in $(sshd_says hostkey); do public_half "$file" && return; done
}

shell_says() { # what root's login shell prints before a command of sshd's; bash then reads ~/.bashrc
    shell=$(sed -n 's/^root:.*://p' /etc/passwd | head -n 1)
    env -i HOME="$(root_home)" USER=root LOGNAME=root PATH="$PATH" SHLVL=0 SSH_CLIENT='127.0.0.1 1 1' \
        "${shell:-/bin/sh}" -c : </dev/null 2>&1 9>&- | head -n 3 # what it may start there must not keep our lock
}

probe() {
    fact uid "$(id -u)"
    fact system "$(uname -sr)"
    fact clock "$(date +%s)"
    fact host_key "$(host_key)"
    host_keys
    [ "$(id -u)" -eq 0 ] || { problem "this is not root, so nothing can be looked at -> log in as root, or allow sudo -n" && return; }
    probe_programs
    probe_agent
    probe_paths
    probe_sshd
}

probe_programs() {
    version=$(borg_version)
    fact borg "${version:-missing}"
    case $version in
    1.[2-9]* | 1.[1-9][0-9]*) ;;
    '') problem "borg is not installed -> apt-get install borgbackup (or: pkg install py311-borgbackup, apk add borgbackup)" ;;
    *) problem "borg $version is too old or too new -> install borg 1.2 or 1.4" ;;
    esac
    if command -v age >/dev/null; then
        fact age yes
        try_age
    else
        fact age no
        [ -z "$custodians" ] || problem "age is not installed, and it seals the key for the custodians -> apt-get install age (or: pkg install age, apk add age)"
    fi
    free=$(df -Pk /var/lib 2>/dev/null | sed -n '$s/.* \([0-9][0-9]*\)  *[0-9]*% .*/\1/p')
    fact free_kib "${free:-unknown}"
    case $free in '' | *[!0-9]*) ;; *) [ "$free" -ge 1048576 ] || remark "less than 1 GiB is free below /var/lib, where borg keeps its cache" ;; esac
}

try_age() { # a typing error in a public key shows here, and not once the repository is made
    set --
    for custodian in $custodians; do set -- "$@" -r "$custodian"; done
    [ $# -eq 0 ] || said=$(echo | age "$@" 2>&1 >/dev/null) || problem "age refuses a custodian ($said) -> mend [escrow] custodians"
}

same_text() { [ -f "$2" ] && [ "$1" = "$(cat "$2")" ]; } # same_text TEXT FILE

probe_agent() {
    if same_text "$(agent)" "$agent_file"; then fact agent same; elif [ -e "$agent_file" ]; then fact agent other; else fact agent none; fi
    if [ -e "$conf/agent.conf" ]; then
        fact conf there
        grep -Eq "^ *name *= *$name *\$" "$conf/agent.conf" ||
            problem "$conf/agent.conf is there and does not say name = $name -> add that line, or enrol under the name it says"
    else fact conf none; fi
    if [ ! -e "$conf/custodians" ]; then fact custodians none; elif same_text "$custodians" "$conf/custodians"; then fact custodians same; else
        fact custodians other
        remark "$conf/custodians names others than zborg.toml does, and stays as it is: the key is sealed for those"
    fi
    if [ -e "$conf/passphrase" ]; then fact passphrase yes; else fact passphrase no; fi
    if [ -e "$state/repository-id" ]; then fact initialised yes; else fact initialised no; fi
    [ ! -e "$state/alarm" ] || problem "there is an alarm on this host: $state/alarm -> look into it as root, then remove that file"
}

paths_of_conf() { sed -n 's/^ *path *= *//p' "$conf/agent.conf"; }

probe_paths() {
    if [ -e "$conf/agent.conf" ]; then paths=$(paths_of_conf); else paths=${wanted_paths:-$(existing_paths)}; fi
    [ -n "$paths" ] || problem "there is nothing to back up -> name it with --path"
    IFS=$newline
    for path in $paths; do
        fact path "$path"
        if [ -L "${path%/}" ]; then
            problem "$path is a symbolic link -> name what it points to"
        elif [ ! -e "$path" ]; then problem "$path is not there -> name what is, with --path"; fi
    done
    unset IFS
}

probe_sshd() {
    command -v sshd >/dev/null || { problem "there is no sshd in $PATH -> install openssh-server" && return; }
    sshd_facts >/dev/null || { problem "sshd -T fails: sshd_config has a mistake -> see what sshd -t says" && return; }
    case $(sshd_says permitrootlogin) in no)
        problem "sshd lets root not log in -> PermitRootLogin forced-commands-only (or prohibit-password) in sshd_config" ;;
    esac
    [ "$(sshd_says pubkeyauthentication)" != no ] || problem "sshd takes no keys -> PubkeyAuthentication yes in sshd_config"
    probe_lists
    case $(sshd_says forcecommand) in '' | none) ;; *) problem "ForceCommand in sshd_config overrides the agent -> take it away for root" ;; esac
    for variable in $(sshd_says acceptenv); do
        case $variable in
        LANG | LANGUAGE | LC_* | COLORTERM | NO_COLOR | XMODIFIERS) ;; # Debian's and Red Hat's defaults
        *) problem "sshd accepts $variable from a client, which root's login shell would see -> AcceptEnv LANG LC_* in sshd_config" ;;
        esac
    done
    said=$(shell_says)
    [ -z "$said" ] || problem "root's login shell prints something when it should be silent ($said) -> print only in interactive shells"
    probe_keys
    probe_keepalive
}

is_listed() { # is_listed KEY NAME...: is one of the names in sshd's list? The addresses in it are not judged
    list=$1
    shift
    for pattern in $(sshd_says "$list"); do
        case $list in allow*) pattern=${pattern%%@*} ;; esac
        for one in "$@"; do
            # shellcheck disable=SC2254 # a pattern is wanted
            case $one in $pattern) return 0 ;; esac
        done
    done
    return 1
}

probe_lists() { # who may log in at all
    groups=$(id -Gn root)
    # shellcheck disable=SC2086 # words are wanted
    {
        [ -z "$(sshd_says allowusers)" ] || is_listed allowusers root || problem "AllowUsers in sshd_config leaves root out -> add root@ and the server's address"
        [ -z "$(sshd_says allowgroups)" ] || is_listed allowgroups $groups || problem "AllowGroups in sshd_config leaves root out -> add a group of root's"
        if is_listed denyusers root || is_listed denygroups $groups; then problem "sshd_config denies root the login -> take root out of DenyUsers or DenyGroups"; fi
    }
    case " $(sshd_says authenticationmethods) " in '  ' | *' any '* | *' publickey '*) ;; *)
        problem "AuthenticationMethods in sshd_config asks for more than a key -> for root: Match User root, AuthenticationMethods publickey" ;;
    esac
}

probe_keys() {
    keys=$(authorized_keys) || { problem "AuthorizedKeysFile is none: sshd reads no keys -> AuthorizedKeysFile .ssh/authorized_keys" && return; }
    fact authorized_keys "$keys"
    if has_line "$server_key"; then fact line yes; else fact line no; fi
    ! has_other_line "$server_key" ||
        problem "the server's key is in $keys with other options, and sshd takes the first line -> remove that line"
}

is_kept_alive() { [ "$(sshd_says clientaliveinterval)" != 0 ] && [ "$(sshd_says clientalivecountmax)" != 0 ]; }

probe_keepalive() {
    if is_kept_alive; then fact keepalive yes; elif [ -e "$dropin" ]; then
        fact keepalive cannot
        remark "sshd takes another ClientAliveInterval or ClientAliveCountMax than $dropin says, and none at all: a backup that was cut off keeps this host busy for hours"
    elif is_included; then fact keepalive no; else
        fact keepalive cannot
        remark "sshd_config includes no drop-ins: without ClientAliveInterval 15 in it, a backup that was cut off keeps this host busy for hours"
    fi
}

# --- What is made, each in one step that a kill cannot halve --------------------------------------------------

made=''
made() { # made KIND:PATH, as undo reads it
    made="$1$newline$made"
    printf 'made %s\n' "$1"
}
kept() { printf 'kept %s\n' "$1"; }

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
    same_text "$(agent)" "$agent_file" && kept "$agent_file" && return
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
    if [ -e "$conf/agent.conf" ]; then kept "$conf/agent.conf"; else
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
    said=$("$agent_file" --setup "$name" 2>&1 </dev/null) || fail "the agent's setup fails: $said"
    if [ "$there" = yes ]; then kept "$conf/passphrase"; else made "file:$conf/passphrase"; fi
}

keepalive_text="# zborg: sshd notices when the backup server is gone.
ClientAliveInterval 15
ClientAliveCountMax 4"

reload_sshd() { # by its own supervisor where there is one; without a running sshd there is nothing to tell
    for unit in ssh sshd; do
        if systemctl is-active --quiet "$unit" 2>/dev/null; then systemctl reload "$unit" && return; fi
    done
    pidfile=$(sshd_says pidfile)
    if [ -r "$pidfile" ]; then kill -HUP "$(cat "$pidfile")"; elif [ -x /etc/rc.d/sshd ]; then service sshd reload; fi
}

install_keepalive() {
    is_kept_alive && kept "ClientAliveInterval" && return
    if [ -e "$dropin" ] || ! is_included; then return; fi # what is written elsewhere, above ours, may win: see probe
    write "$dropin" 0644 "$keepalive_text"
    made "sshd:$dropin"
    said=$(sshd -t 2>&1) || fail "sshd -t refuses $dropin: $said"
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
    has_line "$1" && kept "$keys" && return
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

# --- For the host's owner -------------------------------------------------------------------------------------

owner() { # what a bundle does when it is run: look, make, and print the line for `zborg host accept`
    found=$(probe)
    printf '%s\n' "$found" | sed -n 's/^remark /note: /p; s/^problem /to be mended first: /p'
    case $newline$found in *"${newline}problem "*) echo "Nothing was changed." && exit 2 ;; esac
    install_all
    finish
    echo "This host is ready. Send this line to whoever runs $server; it holds no secret:"
    echo
    printf 'zborg-accept 1 %s %s %s agent 1 borg %s server %s\n' "$name" "$url" "$(host_key)" "$(borg_version)" "$fingerprint"
}

alone() { # one at a time on this host; a directory can be locked too, and nothing is left behind
    if [ "$(id -u)" -ne 0 ] || ! command -v flock >/dev/null; then return; fi
    exec 9<"$(root_home)"
    flock -w 30 9 && return
    echo "zborg: another enrolment is at work on this host" >&2
    exit 75
}

main() {
    verb=${1-owner}
    [ $# -eq 0 ] || shift
    case $verb in install | undo | finish | add-key | drop-key | owner) alone ;; esac
    case $verb in
    probe) probe ;;
    install) install_all ;;
    undo) undo "$@" ;;
    finish) finish ;;
    keys) list_keys ;;
    add-key) add_key "$1" ;;
    drop-key) drop_key "$1" ;;
    owner) owner ;;
    *) echo "usage: sh $0 [probe]" >&2 && exit 2 ;;
    esac
}
