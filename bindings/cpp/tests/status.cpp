/// Each status of kms.h has a value of `kms::status` and a distinct exception type.
#include "check.hpp"

#include <set>

namespace {

struct constant {
    const char *name;
    kms_status number;
};

// Made from kms.h by ci/stages/cpp.sh: CONSTANT(KMS_INVALID_ARGUMENT, invalid_argument) and so on.
#define CONSTANT(macro, value)                                                                                                 \
    static_assert(static_cast<kms_status>(kms::status::value) == macro, #macro " has another number");
#include "statuses.inc"
#undef CONSTANT

#define CONSTANT(macro, value) {#macro, macro},
constexpr constant constants[] = {
#include "statuses.inc"
};
#undef CONSTANT

bool is_named(kms_status number) {
    for (const constant &each : constants) {
        if (each.number == number) {
            return true;
        }
    }
    return false;
}

}  // namespace

TEST(no_status_of_the_library_is_missing) {
    for (kms_status number = -10; number < 2000; ++number) {
        const std::string name(kms::name(static_cast<kms::status>(number)));
        bool constant_has_name = false;
        for (const constant &each : constants) {
            constant_has_name = constant_has_name || name == each.name;
        }
        CHECK(constant_has_name == is_named(number));
    }
}

TEST(every_status_has_an_exception_of_its_own) {
    std::set<std::string> types;
#define CONSTANT(macro, value)                                                                                                 \
    if (macro != KMS_OK) {                                                                                                     \
        const auto wanted = static_cast<kms::status>(macro);                                                                   \
        CHECK_THROWS(kms::failure<kms::status::value>, kms::detail::raise(wanted, "why"));                                     \
        types.insert(typeid(kms::failure<kms::status::value>).name());                                                         \
    }
#include "statuses.inc"
#undef CONSTANT
    CHECK(types.size() == std::size(constants) - 1);
}

TEST(an_exception_tells_status_code_and_text) {
    const auto keystore = in_memory();
    const auto id = keystore.create_key();
    keystore.disable_key(id);
    try {
        static_cast<void>(keystore.encrypt(id, "text"));
        CHECK(!"a disabled key encrypts");
    } catch (const kms::state_error &thrown) {
        CHECK(thrown.status() == kms::status::rejected_disabled);
        CHECK(thrown.code() == "Rejected.Disabled");
        CHECK(thrown.name() == "KMS_REJECTED_DISABLED");
        CHECK(std::string(thrown.what()).find("KMS_REJECTED_DISABLED: ") == 0);
        CHECK(std::string(thrown.what()).size() > std::string("KMS_REJECTED_DISABLED: ").size());
        const kms::error copy = thrown;
        CHECK(copy.status() == thrown.status() && std::string(copy.what()) == thrown.what());
    }
}

TEST(a_status_that_only_a_newer_library_has_is_thrown_as_its_group) {
    CHECK_THROWS(kms::argument_error, kms::detail::raise(static_cast<kms::status>(199), ""));
    CHECK_THROWS(kms::existence_error, kms::detail::raise(static_cast<kms::status>(299), ""));
    CHECK_THROWS(kms::state_error, kms::detail::raise(static_cast<kms::status>(399), ""));
    CHECK_THROWS(kms::crypto_error, kms::detail::raise(static_cast<kms::status>(499), ""));
    CHECK_THROWS(kms::keystore_error, kms::detail::raise(static_cast<kms::status>(599), ""));
    CHECK_THROWS(kms::internal_error, kms::detail::raise(static_cast<kms::status>(999), ""));
    CHECK_THROWS(kms::error, kms::detail::raise(static_cast<kms::status>(777), ""));
    CHECK_THROWS(kms::error, kms::detail::raise(static_cast<kms::status>(-1), ""));
}
