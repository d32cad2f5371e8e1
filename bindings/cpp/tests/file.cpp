/// Files, streams and their iostreams: data round-trips, and changed or truncated data throws.
#include "check.hpp"

#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <type_traits>

static_assert(!std::is_copy_constructible_v<kms::encrypting_stream> && std::is_move_constructible_v<kms::encrypting_stream>);
static_assert(!std::is_copy_constructible_v<kms::encrypted_file> && std::is_nothrow_move_constructible_v<kms::encrypted_file>);
static_assert(!std::is_copy_constructible_v<kms::encrypting_ostream> && !std::is_copy_constructible_v<kms::decrypting_istream>);
static_assert(!std::is_default_constructible_v<kms::encrypting_stream> &&
              !std::is_default_constructible_v<kms::encrypted_file>);
static_assert(!std::is_constructible_v<kms::encrypting_ostream, kms::encrypting_stream, std::ostringstream>,
              "a temporary target would be gone");
static_assert(!std::is_constructible_v<kms::encrypting_ostream, kms::decrypting_stream, std::ostream &>, "the wrong direction");
static_assert(!std::is_constructible_v<kms::encrypting_ostream, kms::encrypting_stream &, std::ostream &>,
              "a stream has one owner");
static_assert(std::is_same_v<decltype(std::declval<kms::decrypting_stream &>().finish()), kms::secret_bytes>);

template <class Source, class = void>
constexpr bool opens = false;
template <class Source>
constexpr bool opens<Source, std::void_t<decltype(std::declval<const kms::keystore &>().open_file(std::declval<Source>()))>> =
    true;
static_assert(opens<std::istringstream &> && !opens<std::istringstream>, "a temporary source would be gone");

template <class Buffer, class = void>
constexpr bool reads_into = false;
template <class Buffer>
constexpr bool
    reads_into<Buffer, std::void_t<decltype(std::declval<const kms::encrypted_file &>().read(0, std::declval<Buffer>()))>> =
        true;
static_assert(reads_into<kms::secret_bytes &> && !reads_into<const kms::secret_bytes &>, "what is const is not written to");

namespace {

std::string sample(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>(i * 31 + i / 251);
    }
    return text;
}

void put(const char *path, const std::string &content) { std::ofstream(path, std::ios::binary) << content; }

std::string get(const char *path) {
    std::ostringstream all;
    all << std::ifstream(path, std::ios::binary).rdbuf();
    return all.str();
}

constexpr std::size_t lengths[] = {0, 1, 16384, 16385, 200'000};

}  // namespace

TEST(a_file_comes_back_and_moves_to_the_newest_version) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    const auto options = kms::file_options{}.threads(2).replace(true);
    for (const std::size_t length : lengths) {
        put("plain", sample(length));
        CHECK(ks.encrypt_file(id, "plain", "sealed", {{"tenant", "42"}}, options) == length);
        CHECK(ks.decrypt_file("sealed", "again", {{"tenant", "42"}}, options) == length);
        CHECK(get("again") == sample(length));
    }
    CHECK(kms::is_encrypted_file(get("sealed").substr(0, kms::file_header_size).c_str()) &&
          !kms::is_encrypted_file("%PDF-1.7"));
    CHECK_THROWS(kms::file_exists, ks.encrypt_file(id, "plain", "sealed"));
    CHECK_THROWS(kms::authentication_failed, ks.decrypt_file("sealed", "new"));
    CHECK_THROWS(kms::file_io, ks.encrypt_file(id, "no such file", "new"));
    CHECK_THROWS(kms::malformed_ciphertext, ks.decrypt_file("plain", "new"));
    const auto before = ks.inspect_file("sealed");
    ks.rotate(id);
    CHECK(before.is_primary && !ks.inspect_file("sealed").is_primary);
    CHECK(ks.reencrypt_file("sealed", {{"tenant", "42"}}) && !ks.reencrypt_file("sealed", {{"tenant", "42"}}));
    const auto other = ks.create_key();
    CHECK(ks.reencrypt_file("sealed", {{"tenant", "42"}}, other));
    const auto after = ks.inspect_file("sealed");
    CHECK(after.key_id == other && after.sequence == 3 && after.file_id == before.file_id && after.plaintext_len == 200'000);
    CHECK(!std::ifstream("new"));
}

TEST(progress_is_reported_and_what_it_throws_comes_out) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    put("plain", sample(1'000'000));
    std::uint64_t last = 0;
    ks.encrypt_file(id, "plain", "watched", {},
                    kms::file_options{}.threads(1).progress([&](std::uint64_t done) { last = done; }));
    CHECK(last == 1'000'000);
    const auto thrower = kms::file_options{}.progress([](std::uint64_t) { throw std::runtime_error("enough"); });
    CHECK_THROWS(std::runtime_error, ks.encrypt_file(id, "plain", "new", {}, thrower));
    CHECK(!std::ifstream("new"));
}

TEST(streams_encrypt_and_decrypt_pieces_of_any_length) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    for (const std::size_t length : lengths) {
        const std::string plain = sample(length);
        auto writing = ks.encrypt_stream(id);
        std::string sealed, opened;
        for (std::size_t at = 0; at < plain.size(); at += 7000) {
            const std::string piece = plain.substr(at, 7000);
            const auto out = writing.update(piece);
            sealed += kms::as_text(out);
        }
        const auto end = writing.finish();
        sealed += kms::as_text(end);
        CHECK_THROWS(kms::invalid_argument, writing.update("more"));
        const std::string start = sealed.substr(0, kms::file_start_size), rest = sealed.substr(kms::file_start_size);
        auto reading = ks.decrypt_stream(start);
        const auto middle = reading.update(rest);
        opened += kms::as_text(middle);
        const auto last = reading.finish();
        opened += kms::as_text(last);
        CHECK(opened == plain);
        auto cut = ks.decrypt_stream(start);
        CHECK_THROWS(kms::malformed_ciphertext, cut.finish());
    }
    CHECK_THROWS(kms::malformed_ciphertext, ks.decrypt_stream("no file"));
    auto gone = ks.encrypt_stream(id);
    const auto here = std::move(gone);
    CHECK_THROWS(kms::invalid_argument, gone.update("x"));
}

TEST(iostreams_encrypt_decrypt_and_seek) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    const std::string plain = sample(200'000);
    std::ostringstream target;
    kms::encrypting_ostream out(ks.encrypt_stream(id, {{"tenant", "42"}}), target);
    out << plain.substr(0, 5);
    out.flush();
    out.write(plain.data() + 5, static_cast<std::streamsize>(plain.size()) - 5);
    out.finish();
    CHECK_THROWS(kms::invalid_argument, out.flush());

    std::istringstream source(target.str());
    kms::decrypting_istream in(ks.open_file(source, {{"tenant", "42"}}));
    std::ostringstream all;
    all << in.rdbuf();
    CHECK(all.str() == plain);
    in.clear();
    for (const std::streamoff at : {100'000, 5, 199'999, 65'536}) {
        CHECK(in.seekg(at) && in.tellg() == at && in.get() == static_cast<unsigned char>(plain[static_cast<std::size_t>(at)]));
    }
    CHECK(in.seekg(-1, std::ios::end) && in.get() == static_cast<unsigned char>(plain.back()) && in.get() == EOF);
    in.clear();
    CHECK(!in.seekg(-1));

    std::string changed = target.str();
    changed[kms::file_start_size + 5] ^= 1;
    std::istringstream bad(changed);
    kms::decrypting_istream refused(ks.open_file(bad, {{"tenant", "42"}}));
    CHECK_THROWS(kms::authentication_failed, refused.get());
    std::istringstream cut(target.str().substr(0, 100'000));
    CHECK_THROWS(kms::authentication_failed, ks.open_file(cut, {{"tenant", "42"}}));
}

TEST(a_file_is_read_at_any_place_also_through_a_function_that_throws) {
    std::string plain = sample(100'000), sealed;
    const auto open = [&](bool &fails) {
        const auto ks = in_memory();
        const auto id = ks.create_key();
        put("plain", plain);
        std::remove("placed");
        ks.encrypt_file(id, "plain", "placed");
        sealed = get("placed");
        const auto by_path = ks.open_file("placed");
        kms::secret_bytes some(100);
        CHECK(by_path.size() == plain.size() && by_path.read(99'950, some) == 50 && by_path.read(100'000, some) == 0);
        return ks.open_file(
            [&](std::uint64_t offset, kms::bytes_span out) -> std::size_t {
                if (fails) {
                    throw std::runtime_error("no source");
                }
                const auto found =
                    std::string_view(sealed).substr(static_cast<std::size_t>(offset), std::min<std::size_t>(out.size(), 999));
                found.copy(reinterpret_cast<char *>(out.data()), found.size());
                return found.size();
            },
            sealed.size());
    };
    bool fails = false;
    const auto file = open(fails);  // outlives its keystore
    kms::secret_bytes some(20'000);
    CHECK(file.read(50'000, some) == some.size() && kms::as_text(some) == std::string_view(plain).substr(50'000, 20'000));
    fails = true;
    CHECK_THROWS(std::runtime_error, file.read(0, some));
    fails = false;
    CHECK(file.read(0, some) == some.size());
}
