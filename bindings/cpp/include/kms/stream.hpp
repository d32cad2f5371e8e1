/// Files that are encrypted or decrypted in pieces, as they come.
#pragma once

#include <kms/bytes.hpp>
#include <kms/context.hpp>

#include <cstddef>
#include <memory>
#include <ostream>
#include <streambuf>
#include <string_view>
#include <utility>
#include <vector>

namespace kms {

/// What `keystore::decrypt_stream` takes first: the header of the file, and the start of its body.
inline constexpr std::size_t file_start_size = KMS_FILE_START_SIZE;

namespace detail {

/// Owns a stream of C, moves, doesn't copy; for one thread at a time. It may outlive its keystore; in a forked child it throws
/// `forked`.
template <class Bytes>
class stream {
public:
    explicit stream(kms_stream_t *made) noexcept : handle_(made) {}

    /// Passes the next piece, of any length; returns what is complete.
    [[nodiscard]] Bytes update(const bytes_argument &piece) {
        std::size_t size = 0;
        check(kms_stream_update(handle_.get(), piece.data(), piece.size(), nullptr, 0, &size));
        Bytes out(size + 1);  // never NULL, which would ask for the size again
        check(kms_stream_update(handle_.get(), piece.data(), piece.size(), out.data(), out.size(), &size));
        out.resize(size);
        return out;
    }

    /// Returns the end of the file. Without it, an encrypted file is cut off, and a decrypted one is not known to be complete.
    [[nodiscard]] Bytes finish() {
        std::size_t size = 0;
        check(kms_stream_finish(handle_.get(), nullptr, 0, &size));
        Bytes out(size + 1);
        check(kms_stream_finish(handle_.get(), out.data(), out.size(), &size));
        out.resize(size);
        return out;
    }

    [[nodiscard]] kms_stream_t *native_handle() noexcept { return handle_.get(); }

private:
    struct free_stream {
        void operator()(kms_stream_t *made) const noexcept { kms_stream_free(made); }
    };
    std::unique_ptr<kms_stream_t, free_stream> handle_;
};

}  // namespace detail

/// A file that is encrypted in pieces.
using encrypting_stream = detail::stream<bytes>;
/// A file that is decrypted in pieces, each authenticated before it comes out. **Whether the file is complete is known only
/// when `finish` returns**: discard the pieces if it throws.
using decrypting_stream = detail::stream<secret_bytes>;

namespace detail {

/// A stream buffer that encrypts.
class encrypting_buffer : public std::streambuf {
public:
    encrypting_buffer(encrypting_stream stream, std::ostream &target)
        : stream_(std::move(stream)), target_(target), buffer_(65536) {
        setp(buffer_.data(), buffer_.data() + buffer_.size());
    }
    ~encrypting_buffer() override { wipe(buffer_.data(), buffer_.size()); }

    void finish() {
        pass();
        write(stream_.finish());
        target_.flush();
    }

protected:
    int_type overflow(int_type next) override {
        pass();
        if (!traits_type::eq_int_type(next, traits_type::eof())) {
            *pptr() = traits_type::to_char_type(next);
            pbump(1);
        }
        return traits_type::not_eof(next);
    }
    int sync() override {
        pass();
        target_.flush();
        return target_ ? 0 : -1;
    }

private:
    void pass() {
        const bytes out = stream_.update(bytes_view(buffer_.data(), static_cast<std::size_t>(pptr() - pbase())));
        setp(buffer_.data(), buffer_.data() + buffer_.size());
        write(out);
    }
    void write(const bytes &out) {
        target_.write(reinterpret_cast<const char *>(out.data()), static_cast<std::streamsize>(out.size()));
        if (!target_) {
            throw file_io("the target of an encrypting_ostream failed");
        }
    }

    encrypting_stream stream_;
    std::ostream &target_;
    std::vector<char> buffer_;
};

}  // namespace detail

/// A `std::ostream` that encrypts into another, which must outlive it. **Call `finish` at the end**: without it the file is
/// cut off, which decryption refuses. What goes wrong is thrown, as `kms::error`.
class encrypting_ostream : public std::ostream {
public:
    encrypting_ostream(encrypting_stream stream, std::ostream &target)
        : std::ostream(nullptr), buffer_(std::move(stream), target) {
        rdbuf(&buffer_);
        exceptions(std::ios_base::badbit);
    }

    /// Writes the end of the file. Nothing may be written afterwards.
    void finish() {
        if (!good()) {
            throw file_io("an encrypting_ostream failed before it was finished");
        }
        buffer_.finish();
    }

private:
    detail::encrypting_buffer buffer_;
};

namespace detail {

/// The calls of `keystore` that make streams.
template <class Keystore>
class stream_calls {
public:
    /// Begins to encrypt a file under `key`, a key id or "alias/NAME".
    [[nodiscard]] encrypting_stream encrypt_stream(std::string_view key, const context &with = {}) const {
        const auto entries = with.entries();
        kms_stream_t *made = nullptr;
        check(kms_encrypt_stream(raw(), c_text(key), entries.data(), entries.size(), &made));
        return encrypting_stream(made);
    }

    /// Begins to decrypt a file. `start` is its first `file_start_size` bytes; `update` takes the rest.
    [[nodiscard]] decrypting_stream decrypt_stream(const bytes_argument &start, const context &with = {}) const {
        const auto entries = with.entries();
        kms_stream_t *made = nullptr;
        check(kms_decrypt_stream(raw(), start.data(), start.size(), entries.data(), entries.size(), &made));
        return decrypting_stream(made);
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }
};

}  // namespace detail

}  // namespace kms
