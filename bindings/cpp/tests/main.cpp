/// Runs the tests of all files.
#include "check.hpp"

int main() {
    for (const test &each : tests()) {
        running = each.promise;
        const int before = failures;
        try {
            each.run();
        } catch (const std::exception &thrown) {
            check(false, "main.cpp", __LINE__, thrown.what());
        }
        std::printf("%s %s\n", failures == before ? "passed" : "FAILED", each.promise);
    }
    return failures == 0 ? 0 : 1;
}
