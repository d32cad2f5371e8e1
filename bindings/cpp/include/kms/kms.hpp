/// libkms in C++17: an embedded key management service.
///
///     auto keystore = kms::keystore::open("keys.db", kms::options{}.root_key_file("root.key").create(true));
///     auto id = keystore.create_key(kms::create_key_options{}.rotate_every(std::chrono::hours(24 * 90)));
///     kms::bytes blob = keystore.encrypt(id, "4111 1111", {{"tenant", "42"}});
///     kms::secret_bytes text = keystore.decrypt(blob, {{"tenant", "42"}});
///
/// A thin layer over `kms.h`, whose comments are the manual: each call here has C's name without `kms_`, takes texts as
/// `std::string_view`, bytes as `kms::bytes_view` and times as `std::chrono`, and throws `kms::error` where C returns another
/// status than KMS_OK. Header-only; link with libkms.
#pragma once

#include <kms/keystore.hpp>
