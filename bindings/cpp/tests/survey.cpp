/// Surveys: counts by version, uncountable input, and a keystore that was closed.
#include "check.hpp"

#include <type_traits>

static_assert(!std::is_copy_constructible_v<kms::survey> && std::is_nothrow_move_constructible_v<kms::survey>);
static_assert(!std::is_default_constructible_v<kms::survey>);

TEST(a_survey_counts_every_version_of_the_keys_that_occur) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    const auto one = ks.encrypt(id, "one");
    const auto second = ks.rotate(id);
    ks.rotate(id);
    ks.disable_key_version(id, second);
    const auto two = ks.encrypt(id, "two");
    auto survey = ks.begin_survey();
    CHECK(survey.add(one) == kms::status::ok);
    CHECK(survey.add_batch({two, one}) == std::vector<kms::status>{kms::status::ok, kms::status::ok});
    const auto counts = survey.counts();
    CHECK(counts.size() == 3);
    const std::uint64_t expected[] = {1, 0, 2};
    for (std::size_t i = 0; i < counts.size(); ++i) {
        CHECK(counts[i].key_id == id && counts[i].number == 3 - i && counts[i].is_primary == (i == 0));
        CHECK(counts[i].count == expected[i]);
        CHECK(counts[i].state == (i == 1 ? kms::version_state::disabled : kms::version_state::enabled));
    }
    CHECK(counts[1].version_id == second);
    CHECK(survey.unreadable().total() == 0);
}

TEST(a_survey_counts_what_it_cannot_read) {
    const auto ks = in_memory(), other = in_memory();
    const auto blob = ks.encrypt(ks.create_key(), "x"), foreign = other.encrypt(other.create_key(), "x");
    auto unknown = blob;
    unknown[30] ^= 1;
    auto survey = ks.begin_survey();
    CHECK(survey.add("no blob") == kms::status::malformed_ciphertext);
    CHECK(survey.add_batch({foreign, unknown, blob, foreign}) ==
          std::vector<kms::status>{kms::status::key_not_found, kms::status::key_version_not_found, kms::status::ok,
                                   kms::status::key_not_found});
    CHECK(survey.add_batch({}).empty());
    const auto found = survey.unreadable();
    CHECK(found.malformed == 1 && found.unknown_key == 2 && found.unknown_version == 1 && found.total() == 4);
    CHECK(survey.counts().at(0).count == 1);
}

TEST(a_survey_moves_and_throws_once_its_keystore_is_closed) {
    auto ks = in_memory();
    const auto blob = ks.encrypt(ks.create_key(), "x");
    auto first = ks.begin_survey();
    first.add(blob);
    first.add("no blob");
    auto survey = std::move(first);
    CHECK(survey.counts().at(0).count == 1);
    CHECK_THROWS(kms::invalid_argument, first.add(blob));  // NOLINT: what was moved from is refused
    ks.close();
    CHECK_THROWS(kms::invalid_argument, survey.add(blob));
    CHECK_THROWS(kms::invalid_argument, survey.add_batch({blob}));
    CHECK_THROWS(kms::invalid_argument, survey.counts());
    CHECK(survey.unreadable().malformed == 1);
    CHECK_THROWS(kms::invalid_argument, ks.begin_survey());
}
