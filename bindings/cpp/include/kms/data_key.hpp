/// Data keys, for envelope encryption.
#pragma once

#include <kms/bytes.hpp>
#include <kms/context.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kms {

/// How a data key or material is wrapped with an RSA-2048 public key.
enum class wrapping : std::int32_t {
    pkcs1_v1_5 = KMS_WRAPPING_PKCS1_V1_5,
    oaep_sha_1 = KMS_WRAPPING_OAEP_SHA_1,
    oaep_sha_256 = KMS_WRAPPING_OAEP_SHA_256,
};

/// A key for the program to encrypt with itself: store `blob` next to the data, and forget `plaintext`.
struct data_key {
    secret_bytes plaintext;
    bytes blob;
};

/// A data key for the holder of an RSA private key: `blob` under our key, `exported` wrapped with his public key.
struct exported_data_key {
    bytes blob;
    bytes exported;
};

namespace detail {

/// The calls of `keystore` about data keys. `keystore::decrypt` returns the data key.
template <class Keystore>
class data_key_calls {
public:
    /// A random key of 1 to 1024 bytes, and its form encrypted under `key`.
    [[nodiscard]] data_key generate_data_key(std::string_view key, std::size_t number_of_bytes = 32,
                                             const context &with = {}) const {
        data_key made{secret_bytes(number_of_bytes <= largest ? number_of_bytes : 0), {}};
        made.blob = generate(key, number_of_bytes, with, made.plaintext.data());
        return made;
    }

    /// Only the encrypted form, for who will use the key later.
    [[nodiscard]] bytes generate_data_key_without_plaintext(std::string_view key, std::size_t number_of_bytes = 32,
                                                            const context &with = {}) const {
        return generate(key, number_of_bytes, with, nullptr);
    }

    /// A data key that leaves only wrapped: `public_key` is a SubjectPublicKeyInfo of RSA-2048, in DER.
    [[nodiscard]] exported_data_key generate_and_export_data_key(std::string_view key, std::size_t number_of_bytes,
                                                                 const bytes_argument &public_key, wrapping how,
                                                                 const context &with = {}) const {
        const auto entries = with.entries();
        const c_text name(key);
        exported_data_key made;
        std::size_t blob_size = 0;
        std::size_t exported_size = 0;
        const auto call = [&](std::uint8_t *blob, std::uint8_t *exported) {
            check(kms_generate_and_export_data_key(raw(), name, number_of_bytes, entries.data(), entries.size(),
                                                   public_key.data(), public_key.size(), static_cast<std::int32_t>(how), blob,
                                                   made.blob.size(), &blob_size, exported, made.exported.size(),
                                                   &exported_size));
            made.blob.resize(blob_size);
            made.exported.resize(exported_size);
        };
        call(nullptr, nullptr);
        call(made.blob.data(), made.exported.data());
        return made;
    }

    /// Decrypts a data key and wraps it with an RSA-2048 public key, without showing it.
    [[nodiscard]] bytes export_data_key(const bytes_argument &blob, const bytes_argument &public_key, wrapping how,
                                        const context &with = {}) const {
        const auto entries = with.entries();
        bytes exported;
        std::size_t size = 0;
        const auto call = [&](std::uint8_t *out) {
            check(kms_export_data_key(raw(), blob.data(), blob.size(), entries.data(), entries.size(), public_key.data(),
                                      public_key.size(), static_cast<std::int32_t>(how), out, exported.size(), &size));
            exported.resize(size);
        };
        call(nullptr);
        call(exported.data());
        return exported;
    }

private:
    static constexpr std::size_t largest = 1024;

    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }

    bytes generate(std::string_view key, std::size_t number_of_bytes, const context &with, std::uint8_t *plaintext) const {
        const auto entries = with.entries();
        // A size out of range is for the library to refuse.
        bytes blob((number_of_bytes <= largest ? number_of_bytes : 0) + KMS_MAX_OVERHEAD);
        std::size_t size = 0;
        check(kms_generate_data_key(raw(), c_text(key), number_of_bytes, entries.data(), entries.size(), plaintext, blob.data(),
                                    blob.size(), &size));
        blob.resize(size);
        return blob;
    }
};

}  // namespace detail

}  // namespace kms
