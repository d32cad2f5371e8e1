/// Imported key material (BYOK).
#pragma once

#include <kms/bytes.hpp>
#include <kms/data_key.hpp>
#include <kms/text.hpp>
#include <kms/time.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace kms {

/// What is needed to import material from elsewhere; good for one key, several times, until it expires.
struct import_parameters {
    bytes public_key;  ///< RSA-2048, a SubjectPublicKeyInfo in DER, to wrap the 32 bytes with
    bytes token;       ///< to pass back with them
    time_point expires;
};

namespace detail {

/// The calls of `keystore` about imported material, for keys of `key_origin::external`.
template <class Keystore>
class import_calls {
public:
    /// When material is refused and erased: a date, to the second, or never.
    using expiry = std::optional<std::chrono::system_clock::time_point>;

    [[nodiscard]] import_parameters get_parameters_for_import(std::string_view key_id, wrapping how) const {
        import_parameters made{bytes(512), bytes(2048), {}};
        std::size_t key_size = 0;
        std::size_t token_size = 0;
        std::int64_t expires_ms = 0;
        check(kms_get_parameters_for_import(raw(), c_text(key_id), static_cast<std::int32_t>(how), made.public_key.data(),
                                            made.public_key.size(), &key_size, made.token.data(), made.token.size(),
                                            &token_size, &expires_ms));
        made.public_key.resize(key_size);
        made.token.resize(token_size);
        made.expires = from_ms(expires_ms);
        return made;
    }

    /// Imports 32 wrapped bytes. Only the identical material is ever accepted again.
    void import_key_material(std::string_view key_id, const bytes_argument &wrapped, const bytes_argument &token,
                             expiry expires = {}) const {
        check(kms_import_key_material(raw(), c_text(key_id), wrapped.data(), wrapped.size(), token.data(), token.size(),
                                      to_s(expires)));
    }

    /// Imports 32 bytes that this program has in the clear.
    void import_raw_key_material(std::string_view key_id, const bytes_argument &material, expiry expires = {}) const {
        check(kms_import_raw_key_material(raw(), c_text(key_id), material.data(), material.size(), to_s(expires)));
    }

    /// Erases the material at once; until it is imported again, nothing under it can be decrypted.
    void delete_key_material(std::string_view key_id) const { check(kms_delete_key_material(raw(), c_text(key_id))); }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }
};

}  // namespace detail

}  // namespace kms
