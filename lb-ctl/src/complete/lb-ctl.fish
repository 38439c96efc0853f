# Completes lb-ctl's words, and ipvsadm's where lb-ctl goes by that name. lb-ctl itself says what
# may come next.

function __lb_ctl_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l program lb-ctl
    string match -q '*ipvsadm' -- $words[1]; or set program $words[1]
    set -l candidates ($program complete -- $words "$word" 2>/dev/null)
    if test "$candidates" = ":files"
        __fish_complete_path "$word"
    else
        printf '%s\n' $candidates
    end
end

complete -c lb-ctl -f -a '(__lb_ctl_complete)'
complete -c ipvsadm -f -a '(__lb_ctl_complete)'
