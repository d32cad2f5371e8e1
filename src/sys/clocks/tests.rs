use super::*;

#[test]
fn the_boot_clocks_offset_is_found_among_those_of_a_time_namespace() {
    assert_eq!(boot_offset_of("monotonic           0         0\nboottime       864000 5000000\n"), Some(864_000_005));
    assert_eq!(boot_offset_of("monotonic           5         0\nboottime          -7         0\n"), Some(-7000));
    for damaged in ["", "boottime", "boottime x 0", "monotonic 1 0"] {
        assert_eq!(boot_offset_of(damaged), None, "{damaged:?}");
    }
}

#[test]
fn the_boot_clock_is_the_machines() {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let shown: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
    let ours = (boottime_ms() + namespace_offset_ms()) as f64 / 1000.0;
    assert!((ours - shown).abs() < 5.0, "{ours} s, /proc/uptime says {shown} s");
}
