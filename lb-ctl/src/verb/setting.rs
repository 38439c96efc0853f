//! `lb-ctl setting`.

use super::words::{Grammar, OUTPUT, Operand, Tail, Words};
use super::{Verb, VerbError, carry_out};
use crate::command::World;
use crate::exit::Exit;
use crate::output::json::{document, extras, schema};
use lb_common::api::{Edit, Origin, Setting, SettingStatus, Settings};

pub(super) const SETTING: Verb = Verb {
    grammar: Grammar {
        name: "setting",
        operands: &[Operand {
            name: "NAME[=VALUE]",
            about: "the setting, and the value it is to have; all settings without",
            values: &[],
            optional: true,
        }],
        options: &[&OUTPUT],
        tail: Tail::None,
    },
    about: "show settings, or change one, by the names of ipvs's sysctls",
    details: &[
        "They are conn_reuse_mode, expire_nodest_conn, expire_quiescent_template, \
         nat_icmp_send, pmtu_disc, schedule_icmp, sloppy_sctp and sloppy_tcp; of these, lb has \
         nat_icmp_send and schedule_icmp only as 0 yet. A change counts from \
         the next packet on and survives the agent. NAME=default gives the value back to the \
         agent's configuration, where they stand below `settings:', and from there to ipvs's own.",
    ],
    run: setting,
};

fn setting(words: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let word = words.operand(0);
    let Some((name, value)) = word.split_once('=') else {
        return show(word, words.json(), world);
    };
    if words.option(&OUTPUT).is_some() {
        return Err(wrong("--output does not go with a value".to_owned()));
    }
    let value = match value {
        "default" => None,
        number => Some(
            number
                .parse()
                .map_err(|_| wrong(format!("`{number}' is neither a number nor `default'")))?,
        ),
    };
    let name = name.to_owned();
    carry_out(vec![Edit::Set { name, value }], world)
}

fn show(name: &str, json: bool, world: &mut World<'_>) -> Result<Exit, VerbError> {
    if !name.is_empty()
        && let Err(refusal) = Setting::check(name, None)
    {
        return Err(wrong(refusal.message));
    }
    let Settings { mut settings } = world.control.settings()?;
    settings.retain(|status| name.is_empty() || status.name.name() == name);
    if json {
        let body = extras::SettingsBody::from(Settings { settings });
        document(&schema::SETTINGS, body, world.out)?;
        return Ok(Exit::Success);
    }
    for SettingStatus {
        name,
        value,
        origin,
    } in settings
    {
        let origin = match origin {
            Origin::Default => "",
            Origin::Configuration => " (configuration)",
            Origin::Edit => " (set)",
        };
        writeln!(world.out, "{name}={value}{origin}")?;
        writeln!(world.out, "        {}", name.about())?;
    }
    Ok(Exit::Success)
}

fn wrong(what: String) -> VerbError {
    VerbError::Usage {
        verb: "setting",
        what,
        usage: SETTING.grammar.usage(),
    }
}
