# Completes lb-ctl's words, and ipvsadm's where lb-ctl goes by that name. lb-ctl itself says what
# may come next.

_lb_ctl() {
    local line=${COMP_LINE:0:COMP_POINT} words word candidate program=lb-ctl
    read -ra words <<<"$line"
    [[ $line == *[[:blank:]] ]] && words+=('')
    [[ ${words[0]} == *ipvsadm ]] || program=${words[0]}
    # Readline replaces only what is behind the last of its breaks.
    word=${words[-1]}
    local kept=${word%"${word##*[:=]}"}
    [[ $COMP_WORDBREAKS == *:* ]] || kept=
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        if [[ $candidate == :files ]]; then
            compopt -o default
            return
        fi
        COMPREPLY+=("${candidate#"$kept"}")
    done < <("$program" complete -- "${words[@]}" 2>/dev/null)
}

complete -F _lb_ctl lb-ctl ipvsadm
