//! Stand-ins for libcrypto under Miri.
