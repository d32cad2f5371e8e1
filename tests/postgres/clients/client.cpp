/// A C++ program opens a keystore in PostgreSQL: client LOCATION ABSENT. Both have a password; at ABSENT no server listens.
#include <kms/kms.hpp>

#include <chrono>
#include <cstring>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

namespace {
int broken = 0;

void check(bool holds, const char *promise) {
    if (!holds) {
        std::cerr << "broken: " << promise << '\n';
        broken = 1;
    }
}

kms::options database_options() {
    static const char root_key[33] = "a root key of exactly 32 bytes!!";
    return kms::options{}
        .root_key(std::string_view(root_key, 32))
        .create(true)
        .poll_interval(50ms)
        .offline_limit(60s)
        .accept_rollback(true);
}
}  // namespace

int main(int count, char **arguments) {
    if (count < 3) {
        return 2;
    }
    const auto ours = kms::keystore::open(arguments[1], database_options());
    const auto theirs = kms::keystore::open(arguments[1], database_options());
    const auto key = ours.create_key();
    const auto blob = ours.encrypt(key, "text");
    check(theirs.decrypt(blob).size() == 4, "another handle decrypts");
    ours.disable_key(key);
    bool is_refused = false;
    for (int tries = 0; !is_refused && tries < 3000; tries++) {
        std::this_thread::sleep_for(10ms);
        try {
            (void)theirs.decrypt(blob);
        } catch (const kms::rejected_disabled &) {
            is_refused = true;
        }
    }
    check(is_refused, "a key that another handle disabled is refused");
    check(theirs.health().polls > 0, "polls are counted");
    try {
        (void)kms::keystore::open(arguments[2], database_options());
        check(false, "a server that is absent throws");
    } catch (const kms::keystore_unavailable &error) {
        check(std::strstr(error.what(), "127.0.0.1:1") != nullptr, "the server is named");
        check(std::strstr(error.what(), "hunter2") == nullptr, "what() has no password");
    }
    return broken;
}
