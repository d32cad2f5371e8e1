//! What the figures were measured on, said in a few lines.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bench::Bench;
use crate::measure::cpus;

/// Name and value.
pub fn describe(bench: &Bench) -> Vec<(String, String)> {
    let (model, flags) = processor();
    let system = bench.system.as_ref().map_or_else(|why| format!("none ({why})"), |system| system.version());
    let rows = [
        ("CPU", format!("{model}; {} available; {flags}", plural(cpus(), "core"))),
        ("memory", memory()),
        ("kernel", format!("{}, {}", first_line("uname", &["-sr"]), distribution())),
        ("disk", format!("keystores on {}", file_system(&bench.data))),
        ("compilers", format!("{}; {}", first_line("rustc", &["--version"]), first_line("gcc", &["--version"]))),
        ("libkms", format!("{}, linked with {}", revision(bench), bench.vendored.version())),
        ("system's libcrypto", system),
    ];
    rows.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

pub fn date() -> String {
    first_line("date", &["-u", "+%Y-%m-%d %H:%M UTC"])
}

/// How many threads wanted to run, over the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

fn processor() -> (String, String) {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(": ").map_or("unknown", |(_, value)| value).to_owned()
    };
    let all = field("flags");
    let has = |flag: &&str| all.split(' ').any(|known| known == *flag);
    let flags: Vec<&str> = ["aes", "avx2", "vaes", "vpclmulqdq", "avx512f", "rdrand"].into_iter().filter(has).collect();
    let family = format!("{} (family {}, model {})", field("model name"), field("cpu family"), field("model\t"));
    (family, if flags.is_empty() { "flags unknown".to_owned() } else { flags.join(" ") })
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().next().and_then(|line| line.split_whitespace().nth(1)).and_then(|n| n.parse::<f64>().ok());
    kib.map_or("unknown".to_owned(), |kib| format!("{:.0} GiB", kib / f64::from(1 << 20)))
}

fn distribution() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    name.trim_matches('"').to_owned()
}

fn file_system(folder: &Path) -> String {
    let folder = folder.to_string_lossy();
    let output = Command::new("df").args(["--output=fstype,source", &folder]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let words: Vec<&str> = text.lines().nth(1).unwrap_or("unknown").split_whitespace().collect();
    words.join(", ")
}

fn revision(bench: &Bench) -> String {
    let commit = first_line("git", &["rev-parse", "--short", "HEAD"]);
    let version = bench.library.version();
    if commit.is_empty() { version } else { format!("{version} at commit {commit}") }
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
