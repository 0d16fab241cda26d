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

existing_paths() { # what to back up when nothing was given: what is there and is no link
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

