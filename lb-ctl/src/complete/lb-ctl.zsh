#compdef lb-ctl ipvsadm
# Completes lb-ctl's words, and ipvsadm's where lb-ctl goes by that name. lb-ctl itself says what
# may come next.

_lb_ctl() {
    local -a candidates
    local line program=lb-ctl
    [[ ${words[1]} == *ipvsadm ]] || program=${words[1]}
    for line in "${(@f)$("$program" complete -- "${(@)words[1,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
        if [[ $line == :files ]]; then
            _files
            return
        fi
        [[ -n $line ]] && candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    _describe 'lb-ctl' candidates
}

if [[ ${funcstack[1]} == _lb[-_]ctl ]]; then
    _lb_ctl
else
    compdef _lb_ctl lb-ctl ipvsadm
fi
