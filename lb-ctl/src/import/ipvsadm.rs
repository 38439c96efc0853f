//! Rules as `ipvsadm-save` writes and `ipvsadm-restore` reads them.

use super::{Description, Extra, Place, Problem, Problems, Topic};
use crate::args::Refused;
use crate::args::number::is_space;
use crate::args::request::{Request, request};
use crate::names::Names;
use lb_common::api::Edit;
use std::rc::Rc;

/// Reads rules; `file` names them in messages.
///
/// # Errors
/// Every line at which `ipvsadm -R` would complain about its words.
pub fn read(bytes: &[u8], file: &str, names: &dyn Names) -> Result<Description, Problems> {
    let file: Rc<str> = file.into();
    let mut description = Description::default();
    let mut problems = Vec::new();
    // A comment is what ipvsadm-restore takes for one: `#` is the first byte of its line.
    let lines = super::text(bytes);
    let lines = lines.split('\n').zip(1..);
    for (line, number) in lines.filter(|(line, _)| !line.starts_with('#')) {
        let words: Vec<String> = line
            .split(is_space)
            .filter(|word| !word.is_empty() && *word != "ipvsadm")
            .map(str::to_owned)
            .collect();
        if words.is_empty() {
            continue;
        }
        let place = Place {
            file: Rc::clone(&file),
            line: number,
        };
        match request(&words, names) {
            Ok(request) => {
                if let Err(why) = carry_out(request, &mut description, &place) {
                    let extra = Extra::new(&place, words.join(" "), Topic::Ignored(why));
                    description.extras.push(extra);
                }
            }
            Err(refused) => problems.push(Problem::new(&place, complaint(&refused))),
        }
    }
    if problems.is_empty() {
        Ok(description)
    } else {
        Err(Problems(problems))
    }
}

fn carry_out(request: Request, description: &mut Description, place: &Place) -> Result<(), String> {
    match request {
        Request::Edit(Edit::Zero { .. }) => Err("counters are no part of a configuration".into()),
        Request::Edit(edit) => description
            .apply(edit, place)
            .map_err(|why| format!("ipvsadm would say: {why}")),
        Request::List { .. }
        | Request::Connections(_)
        | Request::Timeouts
        | Request::Daemons
        | Request::Save(_)
        | Request::Restore
        | Request::Help
        | Request::Version => Err("the command configures nothing".into()),
    }
}

fn complaint(refused: &Refused) -> String {
    match refused {
        Refused::TryHelp => {
            "the line does not begin with one of ipvsadm's commands; rules begin with -A or -a, \
             and comments with # in the first column"
                .to_owned()
        }
        Refused::Option(text) | Refused::Check(text) => {
            format!("{}; put it right as ipvsadm(8) has it", text.trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::SystemNames;

    fn read_text(text: &str) -> Result<Description, Problems> {
        read(text.as_bytes(), "rules", &SystemNames::default())
    }

    #[test]
    fn edits_add_up_to_a_table() {
        let description = read_text(
            "# saved\n-A -t 10.0.0.1:80 -s rr\nipvsadm -A -u 10.0.0.2:53\n\
             -a -t 10.0.0.1:80 -r 192.168.0.1 -m -w 5\n-a -t 10.0.0.1:80 -r 192.168.0.2\n\
             -e -t 10.0.0.1:80 -r 192.168.0.2 -x 9 -y 3\n-d -t 10.0.0.1:80 -r 192.168.0.1 -m\n\
             -D -u 10.0.0.2:53\n--set 600 0 0\n--set 0 0 30\n\
             --start-daemon backup --mcast-interface eth1\n\r\n",
        );
        // -d takes no method: ipvsadm says so, and so does the reader.
        let problems = description.unwrap_err();
        assert_eq!(problems.0.len(), 1);
        assert_eq!(
            problems.to_string(),
            "rules:7: Illegal 'forwarding-method' option with the 'delete-server' command; \
             put it right as ipvsadm(8) has it"
        );
    }

    #[test]
    fn what_the_table_refuses_is_an_extra() {
        let description = read_text(
            "-A -t 10.0.0.1:80\n-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.2:80 -r 10.1.0.1\n-L -n\n-Z\n",
        )
        .unwrap();
        assert_eq!(description.services.as_slice().len(), 1);
        assert_eq!(description.services.as_slice()[0].options.scheduler, "wlc");
        let extras: Vec<_> = description
            .extras
            .iter()
            .map(|extra| (extra.place.line, extra.topic.clone()))
            .collect();
        let ignored = |why: &str| Topic::Ignored(why.to_owned());
        assert_eq!(
            extras,
            [
                (2, ignored("ipvsadm would say: Service already exists")),
                (3, ignored("ipvsadm would say: Service not defined")),
                (4, ignored("the command configures nothing")),
                (5, ignored("counters are no part of a configuration")),
            ]
        );
    }

    #[test]
    fn every_bad_line_is_told() {
        let problems = read_text("-A -t nowhere.invalid:80\n # indented\nfoo\n").unwrap_err();
        let lines: Vec<_> = problems
            .0
            .iter()
            .map(|problem| problem.place.line)
            .collect();
        assert_eq!(lines, [1, 2, 3]);
    }
}
