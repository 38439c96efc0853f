//! nginx on a real server of the lab.

use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use xtask::lab::background::Background;
use xtask::lab::host::Host;

/// Starts an nginx that answers every request on ports 80 and 443 (IPv4 only, and in the clear) with
/// its host's name; all its files are in the host's directory. What is below `/files/` can be had
/// and put there: it is [`files`].
///
/// # Errors
/// When it cannot be started.
pub fn start(host: &Host) -> Result<Background> {
    let dir = host.dir().join("nginx");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    fs::create_dir_all(files(host))?;
    let path = dir.join("nginx.conf");
    fs::write(&path, config(host.name(), &dir.display().to_string()))?;
    let mut command = host.command("nginx");
    command
        .arg("-c")
        .arg(path)
        .arg("-p")
        .arg(dir)
        .args(["-e", "stderr"]);
    host.spawn("nginx", command)
}

/// The directory of an nginx's files.
#[must_use]
pub fn files(host: &Host) -> PathBuf {
    host.dir().join("nginx/files")
}

fn config(name: &str, dir: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {dir}/{kind};\n"))
        .concat();
    format!(
        "daemon off;
user root;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    default_type text/plain;
{temporary}    server {{
        listen 80 reuseport;
        listen [::]:80 reuseport;
        listen 443 reuseport;
        location /files/ {{
            root {dir};
            dav_methods PUT;
            client_max_body_size 0;
        }}
        location / {{ return 200 \"{name}\\n\"; }}
    }}
}}
"
    )
}
