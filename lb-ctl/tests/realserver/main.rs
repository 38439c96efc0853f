//! `lb-ctl realserver`, with a script in the agent's place that tells how it was called.

use std::process::{Command, Output};

/// Runs lb-ctl with an agent that prints its words and ends with this code.
fn run(code: u8, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lb-ctl"))
        .arg("realserver")
        .args(words)
        .env("CODE", code.to_string())
        .env(
            "LB_AGENT",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/realserver/agent.sh"),
        )
        .output()
        .expect("the program was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn verbs_become_the_agents_options_and_its_exit_code_is_ours() {
    for (words, called) in [
        (
            &["setup", "--vip", "10.0.0.100", "--interface", "eth0"][..],
            "called: real-server --vip 10.0.0.100 --interface eth0\n",
        ),
        (
            &["check", "-o", "json"],
            "called: real-server --check -o json\n",
        ),
        (&["undo"], "called: real-server --undo\n"),
    ] {
        for code in 0..=4 {
            let output = run(code, words);
            assert_eq!(text(&output.stdout), called);
            assert_eq!(output.status.code(), Some(code.into()), "{words:?}");
        }
    }
}

#[test]
fn words_that_are_no_verbs_start_nothing() {
    for words in [
        &[][..],
        &["set"],
        &["setup", "--undo"],
        &["check", "--check"],
    ] {
        let output = run(0, words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert_eq!(text(&output.stdout), "");
        assert!(
            text(&output.stderr).contains("setup|check|undo"),
            "{words:?}"
        );
    }
    let help = run(0, &["setup", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("--decapsulate TUNNELS"));
}

#[test]
fn a_missing_agent_is_named_with_the_cure() {
    let output = Command::new(env!("CARGO_BIN_EXE_lb-ctl"))
        .args(["realserver", "check"])
        .env("LB_AGENT", "/nonexistent/lb-agent")
        .output()
        .expect("the program was built");
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(
        said.contains("/nonexistent/lb-agent") && said.contains("LB_AGENT"),
        "{said}"
    );
}
