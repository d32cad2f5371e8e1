use super::*;

const SALT_BYTES: [u8; SALT] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const CHEAP: Argon2Params = Argon2Params { memory_kib: 64, passes: 1, lanes: 1 };

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The figures are those of argon2-cffi (the reference implementation).
#[test]
fn keys_agree_with_the_reference_implementation() {
    let key = derive(b"correct horse", &SALT_BYTES, &Argon2Params::DEFAULT).unwrap();
    assert_eq!(hex(&*key), "577f1ff37e9a3e52c97d39f8e83891c1b73b0e87ffe0429cee8ede2fb005fe44");
    let key = stretch(b"", &SALT_BYTES, &CHEAP).unwrap();
    assert_eq!(hex(&*key), "df74a3b95ebfcf38d2020538740fc2c02ae1a7a665967e702f90d921d585809a");
}

#[test]
fn passphrase_salt_and_every_parameter_change_the_key() {
    let base = stretch(b"pass", &SALT_BYTES, &CHEAP).unwrap();
    assert_ne!(base, stretch(b"pasS", &SALT_BYTES, &CHEAP).unwrap());
    assert_ne!(base, stretch(b"pass", &[9; SALT], &CHEAP).unwrap());
    for params in [
        Argon2Params { memory_kib: 72, ..CHEAP },
        Argon2Params { passes: 2, ..CHEAP },
        Argon2Params { lanes: 2, ..CHEAP },
    ] {
        assert_ne!(base, stretch(b"pass", &SALT_BYTES, &params).unwrap());
    }
}

#[test]
fn a_hostile_cost_is_refused_before_any_memory_is_taken() {
    let max = u32::MAX;
    for (memory_kib, passes, lanes) in [
        (0, 1, 1),
        (CHEAP.memory_kib, CHEAP.passes, CHEAP.lanes),
        (19 * 1024 - 1, 2, 1),
        (19 * 1024, 1, 1),
        (64 << 10, 3, 0),
        (64, 0, 1),
        (64, 1, 0),
        (7, 1, 1),
        (15, 1, 2),
        (100 << 20, 1, 1),
        (max, max, max),
        (64, max, 1),
        (1 << 20, 65, 4),
        ((1 << 20) + 1, 2, 1),
        (1 << 20, 5, 4),
        (1 << 20, 2, 65),
    ] {
        let params = Argon2Params { memory_kib, passes, lanes };
        assert_eq!(params.check().unwrap_err().status(), Status::KeystoreCorrupt, "{params:?}");
        assert_eq!(derive(b"", &SALT_BYTES, &params).unwrap_err().status(), Status::KeystoreCorrupt);
        assert_eq!(Argon2Params::decode(&params.encode()).unwrap_err().status(), Status::KeystoreCorrupt);
    }
}

#[test]
fn reasonable_costs_are_allowed_and_encode_big_endian() {
    // OWASP's minimum, and the largest.
    let most = Argon2Params { memory_kib: 1 << 20, passes: 4, lanes: 64 };
    for params in [Argon2Params::DEFAULT, most, Argon2Params { memory_kib: 19 << 10, passes: 2, lanes: 1 }] {
        params.check().unwrap();
        assert_eq!(Argon2Params::decode(&params.encode()).unwrap(), params);
    }
    assert_eq!(Argon2Params::DEFAULT.encode(), [0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4]);
}
