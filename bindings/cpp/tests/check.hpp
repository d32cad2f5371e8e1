/// What the C++ tests share: tests that register themselves under the promise they keep, and keystores to test it on.
#pragma once

#include <kms/kms.hpp>

#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <typeinfo>
#include <vector>

struct test {
    const char *promise;
    void (*run)();
};

inline std::vector<test> &tests() {
    static std::vector<test> all;
    return all;
}

inline int failures = 0;
inline const char *running = "";

inline bool check(bool kept, const char *file, int line, const char *text) {
    if (!kept) {
        ++failures;
        std::fprintf(stderr, "%s:%d: %s: broken: %s\n", file, line, running, text);
    }
    return kept;
}

#define TEST(promise)                                                                                                          \
    static void promise();                                                                                                     \
    static const bool promise##_registered = (tests().push_back({#promise, promise}), true);                                   \
    static void promise()
#define CHECK(...) check(static_cast<bool>(__VA_ARGS__), __FILE__, __LINE__, #__VA_ARGS__)
#define CHECK_THROWS(type, ...)                                                                                                \
    check(throws<type>([&] { static_cast<void>(__VA_ARGS__); }), __FILE__, __LINE__, #__VA_ARGS__ " throws " #type)

/// Whether exactly this type is thrown.
template <class Exception>
bool throws(const std::function<void()> &act) {
    try {
        act();
    } catch (const Exception &thrown) {
        if (typeid(thrown) == typeid(Exception)) {
            return true;
        }
        std::fprintf(stderr, "    a %s came: %s\n", typeid(thrown).name(), thrown.what());
    } catch (const std::exception &thrown) {
        std::fprintf(stderr, "    another exception came: %s\n", thrown.what());
    }
    return false;
}

/// A copy of a plaintext as a string, so that a test can compare it.
inline std::string text_of(const kms::secret_bytes &plaintext) { return std::string(kms::as_text(plaintext)); }

using namespace std::chrono_literals;

inline constexpr auto day = 24h;
inline constexpr std::uint8_t root_key[32] = {'a', ' ', 'k', 'e', 'y'};

/// Moved by hand, so that years pass at once.
struct manual_clock {
    kms::time_point now{std::chrono::seconds(1735689600)};

    std::function<kms::time_point()> reader() {
        return [this] { return now; };
    }
};

inline kms::keystore in_memory() {
    return kms::keystore::open("memory:", kms::options{}.root_key(root_key).rotation_thread(false));
}

inline kms::keystore in_memory(manual_clock &clock) {
    return kms::keystore::open("memory:", kms::options{}.root_key(root_key).clock(clock.reader()));
}
