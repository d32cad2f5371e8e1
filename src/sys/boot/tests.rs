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
    let namespace = file::link_target(Path::new("/proc/self/ns/time")).unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let shown: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
    let (_, since_boot) = since_boot();
    let ours = (since_boot + offset_in(&namespace).unwrap()) as f64 / 1000.0;
    assert!((ours - shown).abs() < 5.0, "{ours} s, /proc/uptime says {shown} s");
}

#[test]
fn a_namespace_whose_offset_is_unknown_counts_as_another_boot() {
    assert_eq!(offset_in(Path::new("time:[1]")), None, "the offset is that of another namespace");
    let other = boot_of(Path::new("time:[4026533000]"));
    assert_ne!(other, boot_id());
    assert_ne!(other, boot_of(Path::new("time:[4026533001]")));
    assert_eq!(other, boot_of(Path::new("time:[4026533000]")));
}
