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

/// CPU time that was used on this machine by all but the children of this process; the difference of two tells whether
/// other programs disturbed what ran between them.
pub fn foreign_seconds() -> f64 {
    // user nice system idle iowait irq softirq steal
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&field| ticks.get(field)).sum::<f64>();
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let mut own: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut own) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    busy / per_second - seconds(own.ru_utime) - seconds(own.ru_stime)
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
