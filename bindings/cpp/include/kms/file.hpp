/// Files of any size, and encrypted files that are read at any place.
#pragma once

#include <kms/bytes.hpp>
#include <kms/context.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <istream>
#include <iterator>
#include <memory>
#include <optional>
#include <streambuf>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kms {

/// Size of the header of an encrypted file.
inline constexpr std::size_t file_header_size = KMS_FILE_HEADER_SIZE;

/// What the header of an encrypted file says; it is not authenticated.
struct file_info {
    std::string key_id;
    std::string version_id;
    bool is_primary;  ///< the version is the primary of `key_id` now
    std::array<std::uint8_t, 16> file_id;
    std::uint64_t sequence;  ///< how often the header was written
    std::uint64_t plaintext_len;
};

/// Whether the first bytes of a file, `file_header_size` of them, are those of an encrypted one.
[[nodiscard]] inline bool is_encrypted_file(const bytes_argument &start) {
    std::int32_t is_encrypted = 0;
    detail::check(kms_is_encrypted_file(start.data(), start.size(), &is_encrypted));
    return is_encrypted != 0;
}

/// How a file is encrypted or decrypted.
class file_options {
public:
    /// Threads that work during the call, at most 256; 0, the default: one per CPU, at most 4.
    file_options &threads(std::int32_t count) {
        threads_ = count;
        return *this;
    }
    /// Replaces an existing target, in one step, once the output is complete.
    file_options &replace(bool on) {
        replace_ = on;
        return *this;
    }
    /// Called again and again, on the calling thread, with the bytes of the source that are done. What it throws ends the
    /// call, comes out of it, and leaves no output.
    file_options &progress(std::function<void(std::uint64_t)> report) {
        progress_ = std::move(report);
        return *this;
    }

    /// Makes a call of C with these options.
    template <class Call>
    void in_c(Call call) const {
        reporting now{progress_, nullptr};
        kms_file_options c = KMS_FILE_OPTIONS_INIT;
        c.threads = threads_;
        c.replace = replace_ ? 1 : 0;
        if (progress_) {
            c.progress = report;
            c.progress_user = &now;
        }
        const kms_status returned = call(&c);
        if (now.thrown) {
            std::rethrow_exception(now.thrown);
        }
        detail::check(returned);
    }

private:
    struct reporting {
        const std::function<void(std::uint64_t)> &function;
        std::exception_ptr thrown;
    };
    static kms_status report(void *user, std::uint64_t done) noexcept {
        auto &now = *static_cast<reporting *>(user);
        try {
            now.function(done);
            return KMS_OK;
        } catch (...) {
            now.thrown = std::current_exception();
            return KMS_FILE_IO;
        }
    }

    std::int32_t threads_ = 0;
    bool replace_ = false;
    std::function<void(std::uint64_t)> progress_;
};

/// An encrypted file that is open for reading: owns its handle, moves, doesn't copy. All threads may read from it at once. It
/// may outlive its keystore.
class encrypted_file {
public:
    /// Reads from a place of the encrypted file into a buffer; returns how much it read, 0 at the end.
    using read_at = std::function<std::size_t(std::uint64_t offset, bytes_span out)>;

    /// Length of the plaintext.
    [[nodiscard]] std::uint64_t size() const {
        std::uint64_t size = 0;
        detail::check(kms_file_size(native_handle(), &size));
        return size;
    }

    /// Reads plaintext from `offset` on until `out` is full or the file ends; returns how much it read. After a failure
    /// `out` holds no plaintext.
    [[nodiscard]] std::size_t read(std::uint64_t offset, bytes_span out) const {
        std::size_t read = 0;
        const kms_status returned = kms_file_read(native_handle(), offset, out.data(), out.size(), &read);
        rethrow();
        detail::check(returned);
        return read;
    }

    void close() noexcept { handle_.reset(); }
    [[nodiscard]] const kms_file_t *native_handle() const noexcept { return handle_.get(); }

private:
    template <class Opener>
    friend encrypted_file open_encrypted_file(Opener, read_at);

    encrypted_file() = default;

    struct source {
        read_at read;
        static kms_status call(void *user, std::uint64_t offset, std::uint8_t *out, std::size_t out_cap,
                               std::size_t *out_len) noexcept {
            try {
                *out_len = static_cast<source *>(user)->read(offset, bytes_span(out, out_cap));
                return KMS_OK;
            } catch (...) {
                thrown() = std::current_exception();
                return KMS_FILE_IO;
            }
        }
    };
    /// Of this thread, on which the callback runs.
    static std::exception_ptr &thrown() noexcept {
        static thread_local std::exception_ptr last;
        return last;
    }
    static void rethrow() {
        if (thrown()) {
            std::rethrow_exception(std::exchange(thrown(), nullptr));
        }
    }

    struct close_file {
        void operator()(kms_file_t *open) const noexcept { kms_file_close(open); }
    };
    std::unique_ptr<source> source_;  // outlives the handle
    std::unique_ptr<kms_file_t, close_file> handle_;
};

/// Opens a file by a call of C, which gets the callback and its user where there is one.
template <class Opener>
encrypted_file open_encrypted_file(Opener open, encrypted_file::read_at read) {
    encrypted_file made;
    made.source_ = std::make_unique<encrypted_file::source>(encrypted_file::source{std::move(read)});
    kms_file_t *opened = nullptr;
    const kms_status returned = open(encrypted_file::source::call, made.source_.get(), &opened);
    made.handle_.reset(opened);
    encrypted_file::rethrow();
    detail::check(returned);
    return made;
}

namespace detail {

/// The plaintext of an encrypted file as a stream buffer.
class decrypting_buffer : public std::streambuf {
public:
    explicit decrypting_buffer(encrypted_file file) : file_(std::move(file)), buffer_(65536) {}
    ~decrypting_buffer() override { wipe(buffer_.data(), buffer_.size()); }

protected:
    int_type underflow() override {
        next_ += static_cast<std::uint64_t>(egptr() - eback());
        setg(buffer_.data(), buffer_.data(), buffer_.data());
        const std::size_t read = file_.read(next_, bytes_span(buffer_.data(), buffer_.size()));
        setg(buffer_.data(), buffer_.data(), buffer_.data() + read);
        return read == 0 ? traits_type::eof() : traits_type::to_int_type(buffer_.front());
    }
    pos_type seekoff(off_type by, std::ios_base::seekdir from, std::ios_base::openmode) override {
        const auto here = static_cast<off_type>(next_) + static_cast<off_type>(gptr() - eback());
        if (from == std::ios_base::cur && by == 0) {
            return pos_type(here);  // tellg keeps the buffer
        }
        const auto start = from == std::ios_base::beg   ? off_type(0)
                           : from == std::ios_base::cur ? here
                                                        : static_cast<off_type>(file_.size());
        if (start + by < 0) {
            return pos_type(off_type(-1));
        }
        next_ = static_cast<std::uint64_t>(start + by);
        setg(buffer_.data(), buffer_.data(), buffer_.data());
        return pos_type(start + by);
    }
    pos_type seekpos(pos_type to, std::ios_base::openmode which) override {
        return seekoff(off_type(to), std::ios_base::beg, which);
    }

private:
    encrypted_file file_;
    std::uint64_t next_ = 0;  // the place of the first byte of the buffer
    std::vector<char> buffer_;
};

}  // namespace detail

/// A `std::istream` of the plaintext of an encrypted file, with `seekg`. What goes wrong is thrown by the call that reads, as
/// `kms::error`; `exceptions(std::ios::goodbit)` turns it into `bad()`.
class decrypting_istream : public std::istream {
public:
    explicit decrypting_istream(encrypted_file file) : std::istream(nullptr), buffer_(std::move(file)) {
        rdbuf(&buffer_);
        exceptions(std::ios_base::badbit);
    }

private:
    detail::decrypting_buffer buffer_;
};

namespace detail {

/// The calls of `keystore` on files. Paths are UTF-8. The context must be passed again to decrypt; the name "kms:file" is
/// reserved in it.
template <class Keystore>
class file_calls {
public:
    /// Encrypts a file of any size, in constant memory; returns the length of the plaintext. The target appears complete, or
    /// not at all.
    std::uint64_t encrypt_file(std::string_view key, std::string_view source, std::string_view target, const context &with = {},
                               const file_options &how = {}) const {
        const auto entries = with.entries();
        std::uint64_t length = 0;
        how.in_c([&](const kms_file_options *options) {
            return kms_encrypt_file(raw(), c_text(key), c_text(source), c_text(target), entries.data(), entries.size(), options,
                                    &length);
        });
        return length;
    }

    /// Decrypts a file; returns the length of the plaintext. The target appears when every byte is authenticated, or not at
    /// all.
    std::uint64_t decrypt_file(std::string_view source, std::string_view target, const context &with = {},
                               const file_options &how = {}) const {
        const auto entries = with.entries();
        std::uint64_t length = 0;
        how.in_c([&](const kms_file_options *options) {
            return kms_decrypt_file(raw(), c_text(source), c_text(target), entries.data(), entries.size(), options, &length);
        });
        return length;
    }

    /// Moves a file to the newest version of `destination_key`; without one, of the key that it is under. Only its header is
    /// rewritten. Returns whether anything had to be done.
    bool reencrypt_file(std::string_view path, const context &with = {},
                        std::optional<std::string_view> destination_key = std::nullopt) const {
        const c_text name(destination_key.value_or(""));
        const auto entries = with.entries();
        std::int32_t changed = 0;
        check(kms_reencrypt_file(raw(), c_text(path), entries.data(), entries.size(),
                                 destination_key ? static_cast<const char *>(name) : nullptr, &changed));
        return changed != 0;
    }

    /// Which key and version protect a file. Nothing is decrypted or authenticated.
    [[nodiscard]] file_info inspect_file(std::string_view path) const {
        kms_file_info c = KMS_FILE_INFO_INIT;
        check(kms_inspect_file(raw(), c_text(path), &c));
        file_info info{c.key_id, c.version_id, c.is_primary != 0, {}, c.sequence, c.plaintext_len};
        std::copy(std::begin(c.file_id), std::end(c.file_id), info.file_id.begin());
        return info;
    }

    /// Opens an encrypted file for reading at any place: as it is, or in a `decrypting_istream`.
    [[nodiscard]] encrypted_file open_file(std::string_view path, const context &with = {}) const {
        const auto entries = with.entries();
        return open_encrypted_file(
            [&](kms_read_at_fn, void *, kms_file_t **out) {
                return kms_open_file(raw(), c_text(path), entries.data(), entries.size(), out);
            },
            nullptr);
    }

    /// Opens an encrypted file of `size` bytes at any location. `read` runs on the thread that reads; its exceptions
    /// leave the file's `read`.
    [[nodiscard]] encrypted_file open_file(encrypted_file::read_at read, std::uint64_t size, const context &with = {}) const {
        const auto entries = with.entries();
        return open_encrypted_file(
            [&](kms_read_at_fn call, void *user, kms_file_t **out) {
                return kms_open_file_callback(raw(), call, user, size, entries.data(), entries.size(), out);
            },
            std::move(read));
    }

    /// Opens an encrypted file in a stream that can seek, which must outlive the file; for one thread at a time.
    [[nodiscard]] encrypted_file open_file(std::istream &source, const context &with = {}) const {
        source.clear();
        source.seekg(0, std::ios_base::end);
        const auto size = static_cast<std::streamoff>(source.tellg());
        if (size < 0) {
            throw invalid_argument("the stream cannot seek; decrypt it with a decrypting_stream");
        }
        return open_file(
            [&source](std::uint64_t offset, bytes_span out) {
                source.clear();
                source.seekg(static_cast<std::streamoff>(offset));
                source.read(reinterpret_cast<char *>(out.data()), static_cast<std::streamsize>(out.size()));
                return static_cast<std::size_t>(source.gcount());
            },
            static_cast<std::uint64_t>(size), with);
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }
};

}  // namespace detail

}  // namespace kms
