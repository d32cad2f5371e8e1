/// Bytes in (`bytes_view`, `bytes_span`) and bytes out (`bytes`, and `secret_bytes`, which wipe themselves).
#pragma once

#include <kms/status.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace kms {

namespace detail {

/// Called through a volatile pointer, so that no compiler can prove that the memory is never read again.
inline void *(*const volatile memset_that_stays)(void *, int, std::size_t) = std::memset;

template <class T>
inline constexpr bool is_byte = sizeof(T) == 1 && std::is_trivially_copyable_v<T> && !std::is_same_v<std::remove_cv_t<T>, bool>;

template <class T, class = void>
inline constexpr bool holds_bytes = false;
template <class T>
inline constexpr bool holds_bytes<T, std::void_t<decltype(*std::declval<T &>().data()), decltype(std::declval<T &>().size())>> =
    is_byte<std::remove_reference_t<decltype(*std::declval<T &>().data())>>;

template <class T, class = void>
inline constexpr bool holds_writable_bytes = false;
template <class T>
inline constexpr bool holds_writable_bytes<T, std::enable_if_t<holds_bytes<T>>> =
    !std::is_const_v<std::remove_reference_t<decltype(*std::declval<T &>().data())>>;

/// The character types of literals; `u8""` has its own type since C++20.
template <class T>
inline constexpr bool is_text_char = std::is_same_v<T, char>;
#ifdef __cpp_char8_t
template <>
inline constexpr bool is_text_char<char8_t> = true;
#endif

template <class T, class = void>
inline constexpr bool is_std_array = false;
template <class T>
inline constexpr bool is_std_array<T, std::void_t<decltype(std::tuple_size<T>::value)>> = true;

/// A view of bytes that other code owns, such as a `std::string_view` or a span: copying is trivial, and a constant one
/// grants what a variable one does.
template <class T>
inline constexpr bool is_view =
    std::is_trivially_copyable_v<T> &&std::is_copy_constructible_v<T> && !is_std_array<T> &&
    std::is_same_v<decltype(std::declval<T &>().data()), decltype(std::declval<const T &>().data())>;

/// Whether an argument of type `T &&` is a temporary that takes its bytes along when it goes.
template <class T, class = void>
inline constexpr bool is_temporary_owner = false;
template <class T>
inline constexpr bool is_temporary_owner<T, std::enable_if_t<!std::is_reference_v<T> && holds_bytes<const T>>> =
    !is_view<std::remove_cv_t<T>>;
template <class T, std::size_t Size>
inline constexpr bool is_temporary_owner<T[Size], std::enable_if_t<is_byte<T> && !is_text_char<std::remove_cv_t<T>>>> = true;

}  // namespace detail

/// Overwrites memory with zeros; no compiler removes it.
inline void wipe(void *data, std::size_t size) noexcept {
    if (size != 0) {
        detail::memset_that_stays(data, 0, size);
    }
}

/// The allocator of `secret_bytes`: wipes what it frees, and leaves new bytes as they are where a value isn't asked for.
template <class T>
class wiping_allocator {
public:
    using value_type = T;
    using is_always_equal = std::true_type;

    wiping_allocator() noexcept = default;
    template <class U>
    wiping_allocator(const wiping_allocator<U> &) noexcept {}

    [[nodiscard]] T *allocate(std::size_t count) { return std::allocator<T>{}.allocate(count); }
    void deallocate(T *data, std::size_t count) noexcept {
        wipe(data, count * sizeof(T));
        std::allocator<T>{}.deallocate(data, count);
    }
    template <class U>
    void construct(U *place) noexcept(std::is_nothrow_default_constructible_v<U>) {
        ::new (static_cast<void *>(place)) U;
    }
    template <class U, class... Arguments>
    void construct(U *place, Arguments &&...arguments) {
        ::new (static_cast<void *>(place)) U(std::forward<Arguments>(arguments)...);
    }
    friend bool operator==(const wiping_allocator &, const wiping_allocator &) noexcept { return true; }
    friend bool operator!=(const wiping_allocator &, const wiping_allocator &) noexcept { return false; }
};

/// What isn't secret: ciphertexts, public keys, tokens.
using bytes = std::vector<std::uint8_t>;

/// Plaintexts and data keys: a vector whose memory is wiped when it is freed, also by growing. It doesn't turn into
/// `bytes` by itself; copy it out where that is meant: `kms::bytes(secret.begin(), secret.end())`.
using secret_bytes = std::vector<std::uint8_t, wiping_allocator<std::uint8_t>>;

/// A view of bytes that the caller owns. It is made from a literal or a C string (without its NUL), from a vector, string,
/// array or span of any one-byte type, or from a pointer and a size.
///
/// What owns the bytes must outlive the view, so a temporary owner doesn't compile. Name it first:
/// `const auto plaintext = keystore.decrypt(blob); records.emplace_back(plaintext);`
///
/// A buffer of `char` may hold a text or bytes, so it doesn't compile either: say `std::string_view(buffer)` for the text up
/// to its NUL, or `kms::bytes_view(buffer, size)` for bytes.
///
/// C++ can't distinguish a constant array of `char` from a literal. Such an array therefore loses one NUL at its end, and one with a
/// NUL before its end throws `invalid_argument`. This includes a `char` member of a `const` object: for binary data in it,
/// say `kms::bytes_view(record.card, sizeof record.card)`. `char8_t` is treated like `char`.
class bytes_view {
public:
    constexpr bytes_view() noexcept = default;
    bytes_view(const void *data, std::size_t size) noexcept : data_(static_cast<const std::uint8_t *>(data)), size_(size) {}
    bytes_view(std::nullptr_t) = delete;
    template <class Pointer, class Char = std::remove_const_t<std::remove_pointer_t<Pointer>>,
              std::enable_if_t<std::is_pointer_v<Pointer> && detail::is_text_char<Char>, int> = 0>
    bytes_view(const Pointer &text) : bytes_view(text, std::char_traits<Char>::length(not_null(text))) {}
    template <class Char, std::size_t Size, std::enable_if_t<detail::is_text_char<Char>, int> = 0>
    bytes_view(Char (&buffer)[Size]) = delete;
    template <class T, std::size_t Size, std::enable_if_t<detail::is_byte<T>, int> = 0>
    bytes_view(const T (&&temporary)[Size]) = delete;
    template <class Char, std::size_t Size, std::enable_if_t<detail::is_text_char<Char>, int> = 0>
    bytes_view(const Char (&literal)[Size]) : bytes_view(static_cast<const void *>(literal), length(literal, Size)) {}
    bytes_view(std::string_view text) noexcept : bytes_view(text.data(), text.size()) {}
    template <class T, std::size_t Size,
              class = std::enable_if_t<detail::is_byte<T> && !detail::is_text_char<std::remove_cv_t<T>>>>
    bytes_view(const T (&array)[Size]) noexcept : bytes_view(static_cast<const void *>(array), Size) {}
    template <class Container, class = std::enable_if_t<detail::holds_bytes<const Container>>>
    bytes_view(const Container &container) noexcept
        : bytes_view(static_cast<const void *>(container.data()), container.size()) {}
    template <class Owner, std::enable_if_t<detail::is_temporary_owner<Owner> && !std::is_array_v<Owner>, int> = 0>
    bytes_view(Owner &&temporary) = delete;

    [[nodiscard]] const std::uint8_t *data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] const std::uint8_t *begin() const noexcept { return data_; }
    [[nodiscard]] const std::uint8_t *end() const noexcept { return data_ + size_; }

private:
    template <class Char>
    static const Char *not_null(const Char *text) {
        if (text == nullptr) {
            throw invalid_argument("a text is a null pointer");
        }
        return text;
    }
    static std::size_t length(const void *literal, std::size_t size) {
        const void *nul = std::memchr(literal, '\0', size);
        if (nul == nullptr) {
            return size;
        }
        if (nul != static_cast<const char *>(literal) + size - 1) {
            throw invalid_argument("a constant of char holds a NUL in its midst; say kms::bytes_view(data, size)");
        }
        return size - 1;
    }

    const std::uint8_t *data_ = nullptr;
    std::size_t size_ = 0;
};

/// A parameter of a call that reads bytes: anything that makes a `bytes_view`, and also a temporary owner, because it lives until
/// the call returns. Never make a variable of this type.
class bytes_argument {
public:
    constexpr bytes_argument() noexcept = default;
    bytes_argument(const void *data, std::size_t size) noexcept : view_(data, size) {}
    template <class T, std::enable_if_t<std::is_convertible_v<T, bytes_view> || detail::is_temporary_owner<T>, int> = 0>
    bytes_argument(T &&given) : view_(view(std::forward<T>(given))) {}
    bytes_argument(const bytes_argument &) = delete;
    bytes_argument &operator=(const bytes_argument &) = delete;

    [[nodiscard]] const std::uint8_t *data() const noexcept { return view_.data(); }
    [[nodiscard]] std::size_t size() const noexcept { return view_.size(); }

private:
    template <class T>
    static bytes_view view(T &&given) {
        if constexpr (detail::is_temporary_owner<T>) {
            return bytes_view(std::as_const(given));
        } else {
            return std::forward<T>(given);
        }
    }

    bytes_view view_;
};

/// Memory that a call writes into, for the `..._into` forms.
class bytes_span {
public:
    bytes_span(void *data, std::size_t size) noexcept : data_(static_cast<std::uint8_t *>(data)), size_(size) {}
    template <class T, std::size_t Size, class = std::enable_if_t<detail::is_byte<T> && !std::is_const_v<T>>>
    bytes_span(T (&array)[Size]) noexcept : bytes_span(static_cast<void *>(array), Size) {}
    template <class Container, class = std::enable_if_t<detail::holds_writable_bytes<Container>>>
    bytes_span(Container &container) noexcept : bytes_span(static_cast<void *>(container.data()), container.size()) {}

    [[nodiscard]] std::uint8_t *data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    std::uint8_t *data_;
    std::size_t size_;
};

/// The bytes read as text, for as long as they live. A temporary owner doesn't compile, because nothing would be left to
/// read: `const auto plaintext = keystore.decrypt(blob); use(kms::as_text(plaintext));`
[[nodiscard]] inline std::string_view as_text(bytes_view data) noexcept {
    return {reinterpret_cast<const char *>(data.data()), data.size()};
}

}  // namespace kms
