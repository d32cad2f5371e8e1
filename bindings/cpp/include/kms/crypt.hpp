/// Encrypting, decrypting, re-encrypting.
#pragma once

#include <kms/bytes.hpp>
#include <kms/context.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kms {

/// A ciphertext is at most this much longer than its plaintext.
inline constexpr std::size_t max_overhead = KMS_MAX_OVERHEAD;

/// What a ciphertext says about itself.
struct blob_info {
    std::string key_id;
    std::string version_id;
    std::int32_t algorithm;  ///< 1: XAES-256-GCM
    bool has_context;        ///< encrypted with a context
    bool is_primary;         ///< the version is the primary of `key_id` now; an alias may name another key by now
};

namespace detail {

/// The calls of `keystore` that encrypt and decrypt. `key` is a key id or "alias/NAME". A blob must be decrypted with the
/// context it was encrypted with.
template <class Keystore>
class crypt_calls {
public:
    /// Encrypts under the primary version of `key`; at most 1 GiB.
    [[nodiscard]] bytes encrypt(std::string_view key, const bytes_argument &plaintext, const context &with = {}) const {
        bytes blob(plaintext.size() + KMS_MAX_OVERHEAD);
        blob.resize(encrypt_into(key, plaintext, blob, with));
        return blob;
    }

    /// Encrypts into `out`, which may overlap the plaintext, and returns the size. Needs room for `max_overhead` bytes
    /// more than the plaintext, or fails with `buffer_too_small`.
    std::size_t encrypt_into(std::string_view key, const bytes_argument &plaintext, bytes_span out,
                             const context &with = {}) const {
        const auto entries = with.entries();
        std::size_t size = 0;
        check(kms_encrypt(raw(), c_text(key), plaintext.data(), plaintext.size(), entries.data(), entries.size(), writable(out),
                          out.size(), &size));
        return size;
    }

    /// Decrypts under the very version that encrypted. The result is wiped when it is freed.
    [[nodiscard]] secret_bytes decrypt(const bytes_argument &blob, const context &with = {}) const {
        secret_bytes plaintext(blob.size());
        plaintext.resize(decrypt_into(blob, plaintext, with));
        return plaintext;
    }

    /// Decrypts into `out`, which may overlap the blob, and returns the size. After a failure `out` holds no plaintext.
    std::size_t decrypt_into(const bytes_argument &blob, bytes_span out, const context &with = {}) const {
        const auto entries = with.entries();
        std::size_t size = 0;
        check(kms_decrypt(raw(), blob.data(), blob.size(), entries.data(), entries.size(), writable(out), out.size(), &size));
        return size;
    }

    /// Moves a blob to the newest version of `destination_key`, a key id or "alias/NAME"; without one, of the key that it is
    /// under. The plaintext doesn't leave the library.
    [[nodiscard]] bytes reencrypt(const bytes_argument &blob, std::optional<std::string_view> destination_key = std::nullopt,
                                  const context &with = {}) const {
        return reencrypt(blob, with, destination_key, with);
    }

    /// The same, to another context.
    [[nodiscard]] bytes reencrypt(const bytes_argument &blob, const context &source,
                                  std::optional<std::string_view> destination_key, const context &destination) const {
        const c_text name(destination_key.value_or(""));
        const auto source_entries = source.entries();
        const auto destination_entries = destination.entries();
        bytes moved(blob.size() + KMS_MAX_OVERHEAD);
        std::size_t size = 0;
        check(kms_reencrypt(raw(), blob.data(), blob.size(), source_entries.data(), source_entries.size(),
                            destination_key ? static_cast<const char *>(name) : nullptr, destination_entries.data(),
                            destination_entries.size(), moved.data(), moved.size(), &size));
        moved.resize(size);
        return moved;
    }

    /// Which key and version a blob is under. Nothing is decrypted or authenticated.
    [[nodiscard]] blob_info inspect(const bytes_argument &blob) const {
        kms_blob_info c = KMS_BLOB_INFO_INIT;
        check(kms_inspect(raw(), blob.data(), blob.size(), &c));
        return {c.key_id, c.version_id, c.algorithm, c.context_type != 0, c.is_primary != 0};
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }

    /// In C, `out` NULL asks for the size; an empty buffer is meant as one that is too small.
    static std::uint8_t *writable(bytes_span out) noexcept {
        static std::uint8_t nothing;
        return out.size() == 0 ? &nothing : out.data();
    }
};

}  // namespace detail

}  // namespace kms
