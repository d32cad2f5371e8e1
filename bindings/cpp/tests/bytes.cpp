/// The types accepted as bytes, and the wiping of secrets.
#include "check.hpp"

#include <array>
#include <cstddef>
#include <cstdlib>
#include <new>
#if __has_include(<span>) && __cplusplus >= 202002L
#include <span>
#endif

static_assert(std::is_same_v<decltype(std::declval<kms::keystore &>().encrypt("", "")), kms::bytes>);
static_assert(std::is_same_v<decltype(std::declval<kms::keystore &>().decrypt("")), kms::secret_bytes>);
static_assert(!std::is_convertible_v<kms::secret_bytes, kms::bytes>, "a secret must not turn into bytes that stay");
static_assert(!std::is_convertible_v<std::vector<int> &, kms::bytes_view> &&
                  !std::is_convertible_v<std::vector<int>, kms::bytes_argument>,
              "an int is no byte");
static_assert(!std::is_convertible_v<std::vector<bool> &, kms::bytes_view> &&
              !std::is_convertible_v<std::vector<bool>, kms::bytes_argument>);
static_assert(!std::is_convertible_v<const std::string &, kms::bytes_span>, "what is const must not be written to");

// A buffer of char doesn't say whether it holds a text or bytes, nor where they end.
static_assert(!std::is_convertible_v<char (&)[8], kms::bytes_view>, "cut at its NUL, or read past its end");
static_assert(!std::is_constructible_v<kms::bytes_view, char (&)[8]>);
static_assert(!std::is_constructible_v<kms::bytes_view, std::nullptr_t>);
static_assert(std::is_convertible_v<const char (&)[8], kms::bytes_view> &&
              std::is_convertible_v<const char *, kms::bytes_view>);
static_assert(std::is_convertible_v<char *, kms::bytes_view> && std::is_convertible_v<std::array<char, 8> &, kms::bytes_view>);
static_assert(std::is_convertible_v<char (&)[8], kms::bytes_span>, "an output's size is its own");

static_assert(!std::is_constructible_v<kms::bytes_view, char (&&)[8]> &&
                  !std::is_constructible_v<kms::bytes_view, const char (&&)[8]>,
              "a member of a temporary is no literal");
static_assert(!std::is_convertible_v<char (&&)[8], kms::bytes_argument> &&
              !std::is_convertible_v<char (&)[8], kms::bytes_argument>);
static_assert(!std::is_constructible_v<kms::bytes_argument, std::nullptr_t>);
#ifdef __cpp_char8_t
static_assert(!std::is_convertible_v<char8_t (&)[8], kms::bytes_view> &&
              !std::is_convertible_v<char8_t (&&)[8], kms::bytes_argument>);
#endif

// What a view is made of must live on.
template <class T, class = void>
constexpr bool reads_as_text = false;
template <class T>
constexpr bool reads_as_text<T, std::void_t<decltype(kms::as_text(std::declval<T>()))>> = true;
template <class T, class = void>
constexpr bool reads_as_text_in_braces = false;
template <class T>
constexpr bool reads_as_text_in_braces<T, std::void_t<decltype(kms::as_text({std::declval<T>()}))>> = true;
template <class T>
constexpr bool is_viewed = std::is_constructible_v<kms::bytes_view, T> &&std::is_convertible_v<T, kms::bytes_view>
    &&std::is_assignable_v<kms::bytes_view &, T> &&std::is_constructible_v<kms::batch_record, T>;
template <class T>
constexpr bool is_not_viewed = !std::is_constructible_v<kms::bytes_view, T> && !std::is_convertible_v<T, kms::bytes_view> &&
                               !std::is_assignable_v<kms::bytes_view &, T> && !std::is_constructible_v<kms::batch_record, T> &&
                               !reads_as_text<T> && !reads_as_text_in_braces<T>;
static_assert(reads_as_text<kms::secret_bytes &> && reads_as_text<const kms::bytes &> && reads_as_text<kms::bytes_view>);
static_assert(reads_as_text_in_braces<kms::secret_bytes &> && !reads_as_text<char (&)[8]>);
static_assert(is_not_viewed<kms::secret_bytes> && is_not_viewed<const kms::secret_bytes> && is_not_viewed<kms::bytes>);
static_assert(is_not_viewed<std::string> && is_not_viewed<std::array<char, 8>> && is_not_viewed<std::vector<std::byte>>);
static_assert(is_not_viewed<unsigned char[8]> && is_not_viewed<kms::bytes_argument>);
static_assert(is_viewed<kms::bytes &> && is_viewed<const std::string &> && is_viewed<const char (&)[4]> &&
              is_viewed<const char *>);
static_assert(is_viewed<std::string_view> && is_viewed<kms::bytes_view> && is_viewed<const kms::bytes_view &>);

// A call returns before its temporaries go.
template <class T>
constexpr bool is_passed = std::is_convertible_v<T, kms::bytes_argument>;
static_assert(is_passed<kms::secret_bytes> && is_passed<const kms::secret_bytes> && is_passed<std::string> &&
              is_passed<const kms::bytes &>);
static_assert(is_passed<std::array<char, 8>> && is_passed<unsigned char[8]> && is_passed<std::string_view> &&
              is_passed<kms::bytes_view>);
static_assert(!std::is_copy_constructible_v<kms::bytes_argument> && !std::is_copy_assignable_v<kms::bytes_argument>);

static std::size_t size_of(const kms::bytes_argument &given) { return given.size(); }

TEST(every_range_of_bytes_goes_in) {
    const char array_of_text[] = "abc";
    const std::uint8_t raw[4] = {1, 2, 3, 0};
    const std::byte other[2] = {};
    CHECK(size_of("abc") == 3);
    CHECK(size_of(array_of_text) == 3);
    CHECK(size_of(std::string("a\0c", 3)) == 3);
    CHECK(size_of(std::string_view("ab")) == 2);
    CHECK(size_of(raw) == 4);
    CHECK(size_of(other) == 2);
    CHECK(size_of(std::vector<std::byte>(5)) == 5);
    CHECK(size_of(std::array<unsigned char, 6>{}) == 6);
    CHECK(size_of(kms::bytes(7)) == 7);
    CHECK(size_of(kms::secret_bytes(8)) == 8);
    CHECK(size_of({raw, 2}) == 2);
    CHECK(size_of({}) == 0);
    const kms::bytes ab{'a', 'b'};
    CHECK(kms::as_text(ab) == "ab" && kms::as_text({ab.data(), 1}) == "a" && kms::as_text("abc") == "abc");
}

TEST(a_literal_in_utf_8_is_a_text_in_every_language_version) {
    CHECK(size_of(u8"4111") == 4 && size_of(u8"") == 0 && size_of(u8"\u20ac") == 3);
    CHECK(kms::as_text(u8"4111") == "4111");
    const auto *pointer = u8"4111";
    CHECK(size_of(pointer) == 4);
    CHECK_THROWS(kms::invalid_argument, size_of(u8"a\0c"));
    const auto ks = in_memory();
    CHECK(text_of(ks.decrypt(ks.encrypt(ks.create_key(), u8"4111"))) == "4111");
}

#ifdef __cpp_lib_span
TEST(a_span_is_a_view_and_may_be_a_temporary) {
    char buffer[4] = {'a', 'b', 'c', 0};
    static_assert(is_viewed<std::span<char>> && is_viewed<std::span<const std::byte>> && is_viewed<std::u8string_view>);
    static_assert(is_not_viewed<std::u8string> && is_passed<std::u8string>);
    CHECK(kms::bytes_view(std::span<char>(buffer)).size() == 4 && size_of(std::span<const char>(buffer)) == 4);
}
#endif

TEST(a_constant_member_of_char_loses_one_nul_at_its_end) {
    struct {
        const char text[4] = {'4', '1', '1', 0};
        const char binary[4] = {1, 0, 2, 0};
    } const record;
    CHECK(size_of(record.text) == 3 && size_of({record.text, sizeof record.text}) == 4);
    CHECK_THROWS(kms::invalid_argument, size_of(record.binary));
}

TEST(a_constant_of_char_is_taken_whole_or_not_at_all) {
    const char full[3] = {'a', 'b', 'c'};
    const char padded[8] = "abc";
    CHECK(size_of(full) == 3);
    CHECK_THROWS(kms::invalid_argument, size_of(padded));
    CHECK_THROWS(kms::invalid_argument, size_of("a\0c"));
    CHECK(size_of("") == 0);
    const char *none = nullptr;
    CHECK_THROWS(kms::invalid_argument, size_of(none));
    char buffer[8] = "abc";
    CHECK(size_of(std::string_view(buffer)) == 3 && size_of({buffer, sizeof buffer}) == 8);
}

TEST(a_wiped_buffer_holds_zeros) {
    std::uint8_t buffer[3] = {1, 2, 3};
    kms::wipe(buffer, 2);
    CHECK(buffer[0] == 0 && buffer[1] == 0 && buffer[2] == 3);
    kms::wipe(nullptr, 0);
}

namespace {

/// The memory that the program's `operator delete` inspects before it frees it.
const void *watched = nullptr;
std::size_t watched_size = 0;
bool was_freed = false;
bool was_wiped = false;

void release(void *data) noexcept {
    if (data != nullptr && data == watched) {
        was_freed = true;
        was_wiped = true;
        for (std::size_t i = 0; i < watched_size; ++i) {
            was_wiped = was_wiped && static_cast<const unsigned char *>(data)[i] == 0;
        }
        watched = nullptr;
    }
    std::free(data);
}

template <class Vector>
void watch(const Vector &vector) {
    watched = vector.data();
    watched_size = vector.capacity();
    was_freed = was_wiped = false;
}

}  // namespace

void *operator new(std::size_t size) {
    if (void *made = std::malloc(size == 0 ? 1 : size)) {
        return made;
    }
    throw std::bad_alloc();
}
void operator delete(void *data) noexcept { release(data); }
void operator delete(void *data, std::size_t) noexcept { release(data); }

TEST(secret_bytes_are_wiped_when_they_are_freed) {
    {
        const kms::bytes open(64, 0xAA);
        watch(open);
    }
    CHECK(was_freed && !was_wiped);
    {
        const kms::secret_bytes secret(64, 0xAA);
        watch(secret);
    }
    CHECK(was_freed && was_wiped);
}

TEST(secret_bytes_that_grow_or_shrink_leave_nothing_behind) {
    kms::secret_bytes secret(64, 0xAA);
    watch(secret);
    secret.resize(1000);
    CHECK(was_freed && was_wiped);
    secret.resize(1);
    watch(secret);
    secret.shrink_to_fit();
    CHECK(was_freed && was_wiped);
}

TEST(a_decrypted_text_is_wiped) {
    const auto ks = in_memory();
    {
        const auto text = ks.decrypt(ks.encrypt(ks.create_key(), std::string(200, 's')));
        CHECK(text[199] == 's');
        watch(text);
    }
    CHECK(was_freed && was_wiped);
}
