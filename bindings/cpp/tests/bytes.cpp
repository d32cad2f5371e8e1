/// What goes in as bytes, and that secrets are wiped.
#include "check.hpp"

#include <array>
#include <cstddef>
#include <cstdlib>
#include <new>

static_assert(std::is_same_v<decltype(std::declval<kms::keystore &>().encrypt("", "")), kms::bytes>);
static_assert(std::is_same_v<decltype(std::declval<kms::keystore &>().decrypt("")), kms::secret_bytes>);
static_assert(!std::is_convertible_v<kms::secret_bytes, kms::bytes>, "a secret must not turn into bytes that stay");
static_assert(!std::is_convertible_v<std::vector<int>, kms::bytes_view>, "an int is no byte");
static_assert(!std::is_convertible_v<std::vector<bool>, kms::bytes_view>);
static_assert(!std::is_convertible_v<const std::string &, kms::bytes_span>, "what is const must not be written to");


// A buffer of char doesn't say whether it holds a text or bytes, nor where they end.
static_assert(!std::is_convertible_v<char (&)[8], kms::bytes_view>, "cut at its NUL, or read past its end");
static_assert(!std::is_constructible_v<kms::bytes_view, char (&)[8]>);
static_assert(!std::is_constructible_v<kms::bytes_view, std::nullptr_t>);
static_assert(std::is_convertible_v<const char (&)[8], kms::bytes_view> && std::is_convertible_v<const char *, kms::bytes_view>);
static_assert(std::is_convertible_v<char *, kms::bytes_view> && std::is_convertible_v<std::array<char, 8> &, kms::bytes_view>);
static_assert(std::is_convertible_v<char (&)[8], kms::bytes_span>, "an output's size is its own");

// What a view is made of must live on.
template <class T, class = void>
constexpr bool reads_as_text = false;
template <class T>
constexpr bool reads_as_text<T, std::void_t<decltype(kms::as_text(std::declval<T>()))>> = true;
static_assert(reads_as_text<kms::secret_bytes &> && reads_as_text<const kms::bytes &> && reads_as_text<kms::bytes_view>);
static_assert(!reads_as_text<kms::secret_bytes> && !reads_as_text<kms::bytes> && !reads_as_text<std::string>);
static_assert(!reads_as_text<const kms::secret_bytes> && !reads_as_text<char (&)[8]>);
static_assert(!std::is_constructible_v<kms::batch_record, kms::bytes> && !std::is_constructible_v<kms::batch_record, std::string>);
static_assert(std::is_constructible_v<kms::batch_record, kms::bytes &> && std::is_constructible_v<kms::batch_record, const char (&)[4]>);

static std::size_t size_of(kms::bytes_view view) { return view.size(); }

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

/// The memory that the program's `operator delete` looks at before it frees it.
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
