//! Memory of callers in blocks of exactly the promised size, so that Miri notices a byte too much.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::ptr::{from_mut, null, null_mut};

use super::*;

fn block<T: Clone>(value: T, len: usize) -> Box<[T]> {
    vec![value; len].into_boxed_slice()
}

#[test]
fn null_is_empty_only_with_length_zero_and_no_length_wraps_around() {
    let data = block(7u64, 3);
    // SAFETY: null, or as long as the length says; longer ones are refused unread.
    unsafe {
        assert_eq!(slice::<u64>(null(), 0), Ok([].as_slice()));
        assert_eq!(slice::<u64>(null(), 1), Err(BAD));
        assert_eq!(slice(data.as_ptr(), 3), Ok([7; 3].as_slice()));
        for len in [CK_ULONG::MAX, CK_ULONG::MAX / 8, CK_ULONG::MAX / 16 + 1] {
            assert_eq!(slice(data.as_ptr(), len), Err(BAD), "{len}");
            assert_eq!(slice_mut(data.as_ptr().cast_mut(), len), Err(BAD), "{len}");
        }
        assert_eq!(write::<u64>(null_mut(), 1), Err(BAD));
    }
}

#[test]
fn a_list_is_written_whole_or_not_at_all() {
    // SAFETY: each list has the length that the count says.
    unsafe {
        let mut count = 9;
        assert_eq!(write_list(&[1u32, 2, 3], null_mut(), &mut count), Ok(()));
        assert_eq!(count, 3);
        assert_eq!(write_list(&[1u32], null_mut(), null_mut()), Err(BAD));
        let mut short = block(0u32, 2);
        count = 2;
        assert_eq!(write_list(&[1u32, 2, 3], short.as_mut_ptr(), &mut count), Err(Fail(CKR_BUFFER_TOO_SMALL)));
        assert_eq!((count, &*short), (3, [0, 0].as_slice()));
        let mut exact = block(0u32, 3);
        assert_eq!(write_list(&[1u32, 2, 3], exact.as_mut_ptr(), &mut count), Ok(()));
        assert_eq!(&*exact, [1, 2, 3]);
    }
}

#[test]
fn an_input_stays_as_it_was_wherever_the_output_overlaps_it() {
    for shift in 0..=8 {
        let mut memory = *b"plaintext-------";
        let start = memory.as_mut_ptr();
        let mut copy = zeroize::Zeroizing::new(Vec::new());
        let mut len = 8;
        // SAFETY: both parts are inside of `memory`.
        unsafe {
            let out = start.add(shift);
            let read = input(start, 8, out, &len, &mut copy).unwrap();
            let done = result(out, &mut len, |out| {
                let Output::Buffer(buffer) = out else { return Ok(Written::Size(8)) };
                for (place, byte) in buffer.iter_mut().zip(read) {
                    *place = byte ^ 1;
                }
                assert_eq!(read, b"plaintex", "the output {shift} bytes behind");
                Ok(Written::Done(8))
            });
            assert_eq!(done, Ok(()));
        }
        assert_eq!(memory[shift..shift + 8], b"plaintex".map(|byte| byte ^ 1));
    }
}

#[test]
fn a_result_follows_the_two_call_convention() {
    let call = |out: Output<'_>| Ok(out.put(b"four"));
    let mut exact = block(0u8, 4);
    let mut len = 0;
    // SAFETY: each output has the length that is passed.
    unsafe {
        assert_eq!(result(null_mut(), &mut len, call), Ok(()));
        assert_eq!(len, 4);
        assert_eq!(result(exact.as_mut_ptr(), &mut len, call), Ok(()));
        assert_eq!(&*exact, b"four");
        let mut short = block(0u8, 3);
        len = 3;
        assert_eq!(result(short.as_mut_ptr(), &mut len, call), Err(Fail(CKR_BUFFER_TOO_SMALL)));
        assert_eq!((len, &*short), (4, [0; 3].as_slice()));
        assert_eq!(result(exact.as_mut_ptr(), null_mut(), call), Err(BAD));
        len = CK_ULONG::MAX;
        assert_eq!(result(exact.as_mut_ptr(), &mut len, call), Err(BAD));
    }
}

fn one(kind: CK_ATTRIBUTE_TYPE, value: &mut [u8]) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE { type_: kind, pValue: value.as_mut_ptr().cast(), ulValueLen: value.len() as CK_ULONG }
}

#[test]
fn a_template_is_copied_and_its_limits_hold() {
    let (mut label, mut flag) = (block(b'x', 3), block(CK_TRUE, 1));
    let attributes = [one(CKA_LABEL, &mut label), one(CKA_TOKEN, &mut flag)];
    let attributes = [attributes[0], attributes[1], attributes[0]];
    // SAFETY: attributes with live values; those with a wrong length are refused unread.
    unsafe {
        let read = template(attributes.as_ptr(), 3).unwrap();
        assert_eq!(read.get(CKA_LABEL), Some(b"xxx".as_slice()));
        assert_eq!(read.flag(CKA_TOKEN), Ok(Some(true)));
        assert_eq!(read.number(CKA_LABEL), Err(Fail(CKR_ATTRIBUTE_VALUE_INVALID)));
        let mut other = block(b'y', 3);
        let twice = [attributes[0], one(CKA_LABEL, &mut other)];
        assert_eq!(template(twice.as_ptr(), 2).err(), Some(Fail(CKR_TEMPLATE_INCONSISTENT)));
        assert_eq!(template(attributes.as_ptr(), MOST_ATTRIBUTES + 1).err(), Some(BAD));
        assert_eq!(template(null(), 1).err(), Some(BAD));
        let long = CK_ATTRIBUTE { ulValueLen: MOST_BYTES + 1, ..attributes[0] };
        assert_eq!(template(&long, 1).err(), Some(Fail(CKR_ATTRIBUTE_VALUE_INVALID)));
        let missing = CK_ATTRIBUTE { pValue: null_mut(), ..attributes[0] };
        assert_eq!(template(&missing, 1).err(), Some(BAD));
    }
}

#[test]
fn an_attribute_is_written_whole_or_says_why_not() {
    let mut exact = block(0u8, 4);
    let mut attribute = one(CKA_LABEL, &mut exact);
    // SAFETY: the value has the length that the attribute says.
    unsafe {
        assert_eq!(write_attribute(&mut attribute, Ok(b"four".to_vec())), Ok(()));
        assert_eq!(write_attribute(&mut attribute, Ok(b"fives".to_vec())), Err(Fail(CKR_BUFFER_TOO_SMALL)));
        assert_eq!((attribute.ulValueLen, &*exact), (CK_ULONG::MAX, b"four".as_slice()));
        attribute.pValue = null_mut();
        assert_eq!(write_attribute(&mut attribute, Ok(b"fives".to_vec())), Ok(()));
        assert_eq!(attribute.ulValueLen, 5);
        let sensitive = Fail(CKR_ATTRIBUTE_SENSITIVE);
        assert_eq!(write_attribute(&mut attribute, Err(sensitive)), Err(sensitive));
        assert_eq!(attribute.ulValueLen, CK_ULONG::MAX);
    }
}

#[test]
fn parameters_of_gcm_need_no_alignment_and_get_the_drawn_iv() {
    let (mut iv, mut aad) = (block(0u8, 12), block(3u8, 5));
    let parameters = CK_GCM_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvBits: 0,
        pAAD: aad.as_mut_ptr(),
        ulAADLen: 5,
        ulTagBits: 128,
    };
    let mut memory = block(0u8, size_of::<CK_GCM_PARAMS>() + 1);
    // SAFETY: the parameters are written and read one byte behind an aligned place; what they name is live.
    unsafe {
        let odd = memory.as_mut_ptr().add(1);
        odd.cast::<CK_GCM_PARAMS>().write_unaligned(parameters);
        let size = size_of::<CK_GCM_PARAMS>() as CK_ULONG;
        let given = CK_MECHANISM { mechanism: CKM_AES_GCM, pParameter: odd.cast(), ulParameterLen: size };
        let Ok(Mechanism::Gcm(read)) = mechanism(&given, CKF_ENCRYPT) else { panic!("not read") };
        assert_eq!(
            (read.iv.as_slice(), read.aad.as_slice(), read.tag_len),
            ([0; 12].as_slice(), [3; 5].as_slice(), 16)
        );
        write_iv(&given, Some([9; 12])).unwrap();
        assert_eq!(&*iv, [9; 12]);
        for len in [0, 1, size - 1, size + 8, CK_ULONG::MAX] {
            let given = CK_MECHANISM { ulParameterLen: len, ..given };
            assert_eq!(mechanism(&given, CKF_ENCRYPT).err(), Some(BAD_PARAMETER), "{len}");
        }
        let mut draft = GcmWithoutIvBits { iv: iv.as_mut_ptr(), iv_len: 12, aad: null_mut(), aad_len: 0, tag_bits: 96 };
        let given = CK_MECHANISM {
            pParameter: from_mut(&mut draft).cast(),
            ulParameterLen: size_of::<GcmWithoutIvBits>() as CK_ULONG,
            ..given
        };
        let Ok(Mechanism::Gcm(read)) = mechanism(&given, CKF_DECRYPT) else { panic!("not read") };
        assert_eq!((read.iv.as_slice(), read.tag_len), ([9; 12].as_slice(), 12));
        assert_eq!(mechanism(null(), CKF_ENCRYPT).err(), Some(BAD));
        let missing = CK_MECHANISM { pParameter: null_mut(), ..given };
        assert_eq!(mechanism(&missing, CKF_ENCRYPT).err(), Some(BAD_PARAMETER));
        assert_eq!(mechanism_type(&missing, CKF_GENERATE).err(), Some(Fail(CKR_MECHANISM_INVALID)));
    }
}
