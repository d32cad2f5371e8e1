/// Every operation through C++: arguments, results, exceptions.
#include "check.hpp"

#include <algorithm>
#include <map>
#include <set>

static_assert(
    std::is_same_v<std::iterator_traits<kms::list<kms::alias>::iterator>::iterator_category, std::input_iterator_tag>);

TEST(a_key_is_described_as_it_was_made) {
    manual_clock clock;
    const auto ks = in_memory(clock);
    const auto id = ks.create_key(kms::create_key_options{}.description("orders").rotate_every(7 * day));
    const auto key = ks.describe_key(id);
    CHECK(id.size() == kms::id_length && key.key_id == id);
    CHECK(key.state == kms::key_state::enabled && key.origin == kms::key_origin::kms);
    CHECK(key.automatic_rotation == kms::automatic_rotation::enabled);
    CHECK(key.rotation_interval == 7 * day && key.creation_date == clock.now);
    CHECK(key.last_rotation_date == clock.now && key.next_rotation_date == clock.now + 7 * day);
    CHECK(!key.delete_date && !key.material_expire_date && !key.deletion_protection && !key.service_managed);
    CHECK(key.version_count == 1 && key.primary_version_id.size() == kms::id_length);
    CHECK(ks.get_key_description(id) == "orders");
    ks.update_key_description(id, "");
    CHECK(ks.get_key_description(id).empty());
    ks.update_key_description(id, std::string(8192, 'x'));
    CHECK(ks.get_key_description(id) == std::string(8192, 'x'));
    CHECK_THROWS(kms::limit_exceeded, ks.update_key_description(id, std::string(8193, 'x')));
    CHECK(!ks.describe_key(ks.create_key()).rotation_interval);
    CHECK_THROWS(kms::invalid_argument, ks.create_key(kms::create_key_options{}.rotate_every(0s)));
}

TEST(a_key_is_disabled_enabled_deleted_and_protected) {
    manual_clock clock;
    const auto ks = in_memory(clock);
    const auto id = ks.create_key();
    ks.disable_key(id);
    CHECK(ks.describe_key(id).state == kms::key_state::disabled);
    ks.enable_key(id);
    ks.set_deletion_protection(id, true, "in use");
    CHECK(ks.describe_key(id).deletion_protection);
    CHECK_THROWS(kms::deletion_protected, ks.schedule_key_deletion(id, 7));
    ks.set_deletion_protection(id, false);
    ks.schedule_key_deletion(id, 7);
    CHECK(ks.describe_key(id).state == kms::key_state::pending_deletion);
    CHECK(ks.describe_key(id).delete_date == clock.now + 7 * day);
    CHECK_THROWS(kms::rejected_pending_deletion, ks.encrypt(id, ""));
    ks.cancel_key_deletion(id);
    CHECK(ks.describe_key(id).state == kms::key_state::enabled);
    CHECK_THROWS(kms::key_not_found, ks.describe_key("no such key"));
}

TEST(a_service_key_is_made_once) {
    const auto ks = in_memory();
    const auto id = ks.create_service_key("billing");
    CHECK(ks.create_service_key("billing") == id && ks.describe_key("alias/acs/billing").service_managed);
}

TEST(a_blob_tells_its_key_and_moves_to_the_newest_version) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    const std::map<std::string, std::string> place{{"tenant", "42"}, {"table", ""}};
    const auto blob = ks.encrypt(id, "text", place);
    const auto before = ks.inspect(blob);
    CHECK(before.key_id == id && before.is_primary && before.has_context && before.algorithm == 1);
    const auto newest = ks.rotate(id);
    CHECK(!ks.inspect(blob).is_primary);
    const auto moved = ks.reencrypt(blob, id, place);
    CHECK(ks.inspect(moved).version_id == newest && ks.inspect(moved).is_primary);
    CHECK(text_of(ks.decrypt(moved, {{"table", ""}, {"tenant", "42"}})) == "text");
    const auto elsewhere = ks.reencrypt(moved, place, ks.create_key(), {});
    CHECK(text_of(ks.decrypt(elsewhere)) == "text" && !ks.inspect(elsewhere).has_context);
    ks.create_alias(id, "alias/back");
    const auto back = ks.reencrypt(elsewhere, "alias/back");
    CHECK(ks.inspect(back).key_id == id);
    const auto own_newest = ks.rotate(id);
    CHECK(ks.inspect(ks.reencrypt(back)).version_id == own_newest);
    CHECK(ks.inspect(ks.reencrypt(moved, std::nullopt, place)).version_id == own_newest);
    CHECK(!ks.inspect(ks.reencrypt(moved, place, std::nullopt, {})).has_context);
    CHECK_THROWS(kms::malformed_ciphertext, ks.inspect("text"));
    CHECK_THROWS(kms::malformed_ciphertext, ks.decrypt({}));
    CHECK_THROWS(kms::invalid_argument, ks.encrypt(id, "", {{"", "empty key"}}));
    CHECK_THROWS(kms::invalid_argument, ks.encrypt(id, "", {{"twice", ""}, {"twice", ""}}));
    CHECK_THROWS(kms::invalid_argument, ks.encrypt(id, "", {{std::string_view("a\0b", 3), ""}}));
    CHECK_THROWS(kms::limit_exceeded, ks.encrypt(id, "", {{"key", std::string(9000, 'x')}}));
}

TEST(every_size_comes_back) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    for (const std::size_t size : {0, 1, 15, 16, 17, 4096, 4097, 1 << 20}) {
        const kms::bytes text(size, 0x37);
        const auto back = ks.decrypt(ks.encrypt(id, text));
        CHECK(back.size() == size && std::equal(back.begin(), back.end(), text.begin()));
    }
}

TEST(a_buffer_of_the_caller_is_filled_and_a_small_one_untouched) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    std::array<std::uint8_t, 5 + kms::max_overhead> buffer{'h', 'e', 'l', 'l', 'o'};
    const auto size = ks.encrypt_into(id, kms::bytes_view(buffer.data(), 5), buffer);
    CHECK(size > 5 && size <= buffer.size());
    char small[4] = {'k', 'e', 'p', 't'};
    CHECK_THROWS(kms::buffer_too_small, ks.decrypt_into({buffer.data(), size}, small));
    CHECK(std::string_view(small, 4) == "kept");
    CHECK_THROWS(kms::buffer_too_small, ks.decrypt_into({buffer.data(), size}, kms::bytes_span(nullptr, 0)));
    CHECK(ks.decrypt_into({buffer.data(), size}, buffer) == 5);
    CHECK(kms::as_text({buffer.data(), 5}) == "hello");
    const auto empty = ks.encrypt(id, "");
    CHECK(ks.decrypt_into(empty, kms::bytes_span(nullptr, 0)) == 0);
}

TEST(a_data_key_comes_back_from_its_blob) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    const auto key = ks.generate_data_key(id, 48, {{"file", "1"}});
    CHECK(key.plaintext.size() == 48 && ks.decrypt(key.blob, {{"file", "1"}}) == key.plaintext);
    CHECK(ks.generate_data_key(id).plaintext != ks.generate_data_key(id).plaintext);
    const auto sealed = ks.generate_data_key_without_plaintext(id);
    CHECK(ks.decrypt(sealed).size() == 32);
    CHECK_THROWS(kms::invalid_argument, ks.generate_data_key(id, 0));
    CHECK_THROWS(kms::invalid_argument, ks.generate_data_key(id, std::size_t(-1)));
    CHECK_THROWS(kms::invalid_argument, ks.generate_data_key_without_plaintext(id, 1025));
}

TEST(a_data_key_is_exported_to_a_public_key) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    const auto external = ks.create_key(kms::create_key_options{}.origin(kms::key_origin::external));
    const auto public_key = ks.get_parameters_for_import(external, kms::wrapping::oaep_sha_256).public_key;
    const auto key = ks.generate_and_export_data_key(id, 32, public_key, kms::wrapping::oaep_sha_256);
    CHECK(key.exported.size() == 256 && ks.decrypt(key.blob).size() == 32);
    CHECK(ks.export_data_key(key.blob, public_key, kms::wrapping::oaep_sha_1).size() == 256);
    CHECK_THROWS(kms::invalid_argument, ks.export_data_key(key.blob, public_key, kms::wrapping(99)));
    CHECK_THROWS(kms::limit_exceeded, ks.generate_and_export_data_key(id, 246, public_key, kms::wrapping::pkcs1_v1_5));
}

TEST(ten_years_of_rotations_leave_everything_readable) {
    manual_clock clock;
    const auto ks = in_memory(clock);
    const auto id = ks.create_key(kms::create_key_options{}.rotate_every(30 * day));
    const auto blob = ks.encrypt(id, "old");
    for (int i = 0; i < 120; ++i) {
        clock.now += 30 * day;
        CHECK(ks.tick() == 1);
    }
    CHECK(ks.describe_key(id).version_count == 121);
    CHECK(text_of(ks.decrypt(blob)) == "old");
    CHECK(ks.health().rotations == 120);
    ks.update_rotation_policy(id, std::nullopt);
    CHECK(ks.describe_key(id).automatic_rotation == kms::automatic_rotation::disabled);
    ks.update_rotation_policy(id, 1h);
    clock.now += 1h;
    CHECK(ks.tick() == 1);
    CHECK_THROWS(kms::invalid_argument, ks.update_rotation_policy(id, 0s));
}

TEST(the_versions_of_a_key_are_listed_newest_first_over_many_pages) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    const std::size_t wanted = 2 * kms::list<kms::key_version>::page_size + 1;
    for (std::size_t i = 1; i < wanted; ++i) {
        ks.rotate(id);
    }
    std::uint64_t number = wanted;
    std::size_t count = 0;
    for (const auto &version : ks.key_versions(id)) {
        CHECK(version.number == number-- && version.is_primary == (count++ == 0));
    }
    CHECK(count == wanted);
    const auto first = *ks.key_versions(id).begin();
    CHECK(ks.describe_key_version(id, first.version_id).number == wanted);
    CHECK_THROWS(kms::key_version_not_found, ks.describe_key_version(id, id));
    CHECK_THROWS(kms::key_not_found, ks.key_versions("nothing").begin());
}

TEST(a_version_is_disabled_enabled_and_destroyed_after_its_period) {
    manual_clock clock;
    std::vector<std::pair<kms::event_kind, std::string>> events;
    std::chrono::milliseconds waited{0};
    const auto ks = kms::keystore::open(
        "memory:", kms::options{}.root_key(root_key).clock(clock.reader()).on_event([&](const kms::event &event) {
            events.emplace_back(event.kind, event.version_id);
            waited = event.waited;
        }));
    const auto id = ks.create_key();
    const auto old = ks.describe_key(id).primary_version_id;
    const auto blob = ks.encrypt(id, "text");
    const auto primary = ks.rotate(id);
    CHECK(ks.describe_key_version(id, old).state == kms::version_state::enabled);
    CHECK_THROWS(kms::state_modified_failed, ks.disable_key_version(id, primary));
    CHECK_THROWS(kms::state_modified_failed, ks.schedule_key_version_deletion(id, old, 7));
    CHECK_THROWS(kms::key_version_not_found, ks.disable_key_version(id, id));
    CHECK_THROWS(kms::unsupported_alias, ks.disable_key_version("alias/name", old));

    ks.disable_key_version(id, old);
    CHECK(ks.describe_key_version(id, old).state == kms::version_state::disabled);
    CHECK_THROWS(kms::key_version_disabled, ks.decrypt(blob));
    ks.enable_key_version(id, old);
    CHECK(text_of(ks.decrypt(blob)) == "text");

    ks.disable_key_version(id, old);
    CHECK_THROWS(kms::invalid_argument, ks.schedule_key_version_deletion(id, old, 6));
    ks.schedule_key_version_deletion(id, old, 7);
    const auto pending = ks.describe_key_version(id, old);
    CHECK(pending.state == kms::version_state::pending_deletion && pending.delete_date == clock.now + 7 * day);
    CHECK_THROWS(kms::state_modified_failed, ks.enable_key_version(id, old));
    ks.cancel_key_version_deletion(id, old);
    CHECK(ks.describe_key_version(id, old).state == kms::version_state::disabled);
    CHECK(!ks.describe_key_version(id, old).delete_date);

    ks.schedule_key_version_deletion(id, old, 7);
    clock.now += 7 * day;
    ks.tick();
    clock.now += 1h;
    ks.tick();
    CHECK(ks.describe_key_version(id, old).state == kms::version_state::destroyed);
    CHECK(ks.describe_key_version(id, old).number == 1 && ks.health().versions_destroyed == 1);
    CHECK_THROWS(kms::key_version_destroyed, ks.decrypt(blob));
    CHECK_THROWS(kms::key_version_destroyed, ks.enable_key_version(id, old));
    CHECK(events.size() == 3 && events[0].first == kms::event_kind::rotated);
    CHECK(events[1] == std::pair(kms::event_kind::version_deletion_due, old));
    CHECK(events[2] == std::pair(kms::event_kind::version_destroyed, old) && waited == 7 * day + 1h);
}

TEST(a_version_has_the_days_of_its_last_use) {
    manual_clock clock;
    const auto ks = in_memory(clock);
    const auto id = ks.create_key();
    const auto version = ks.describe_key(id).primary_version_id;
    CHECK(!ks.describe_key_version(id, version).last_encrypt_date && !ks.describe_key_version(id, version).last_decrypt_date);
    const auto first_day = clock.now;
    clock.now += 1h;
    const auto blob = ks.encrypt(id, "text");
    ks.tick();
    CHECK(ks.describe_key_version(id, version).last_encrypt_date == first_day);
    CHECK(!ks.describe_key_version(id, version).last_decrypt_date);
    clock.now += day;
    ks.tick();  // a pass begins the day
    CHECK(text_of(ks.decrypt(blob)) == "text");
    ks.tick();
    CHECK(ks.describe_key_version(id, version).last_encrypt_date == first_day);
    CHECK(ks.describe_key_version(id, version).last_decrypt_date == first_day + day);
}

TEST(the_change_log_says_who_did_what_when) {
    manual_clock clock;
    const auto ks = kms::keystore::open("memory:", kms::options{}.root_key(root_key).clock(clock.reader()).actor("the tests"));
    const auto id = ks.create_key();
    clock.now += 1h;
    const auto version = ks.rotate(id);
    ks.disable_key(id);
    CHECK_THROWS(kms::rejected_disabled, ks.rotate(id));
    std::vector<kms::logged_change> all;
    for (const auto &change : ks.changes()) {
        all.push_back(change);
    }
    CHECK(all.size() == 4);
    CHECK(all[0].action == "CreateKey" && all[0].key_id == id && all[0].time == clock.now - 1h && all[0].count == 1);
    CHECK(all[0].status == kms::status::ok && !all[0].version_id && all[0].waited == 0ms);
    CHECK(all[1].action == "CreateKeyVersion" && all[1].version_id == version && all[1].time == clock.now);
    CHECK(all[3].action == "CreateKeyVersion" && all[3].status == kms::status::rejected_disabled);
    CHECK(all[3].actor.label == "the tests" && all[3].actor.process_id != 0 && !all[3].actor.program.empty());
    CHECK(all[0].previous_mac == decltype(all[0].mac){} && all[1].previous_mac == all[0].mac);
    CHECK(all[3].generation == all[0].generation + 3 && all[3].change_id.size() == kms::id_length);

    const auto count = [&](kms::change_filter which) {
        const auto found = ks.changes(std::move(which));
        return std::distance(found.begin(), found.end());
    };
    kms::change_filter which;
    which.from = clock.now;
    CHECK(count(which) == 3);
    which.after_generation = all[1].generation;
    CHECK(count(which) == 2);
    which = {};
    which.to = clock.now;
    CHECK(count(which) == 1);
    which = {};
    which.key_id = ks.create_key();
    CHECK(count(which) == 1);
    which.key_id = "alias/none";
    CHECK_THROWS(kms::unsupported_alias, ks.changes(which).begin());

    CHECK(ks.cut_changes(clock.now) == 1 && ks.cut_changes(clock.now) == 0);
    CHECK(ks.changes().begin()->action == "CreateKeyVersion");
    CHECK_THROWS(kms::limit_exceeded, kms::options{}.actor(std::string(256, 'x')));
    CHECK_THROWS(kms::invalid_argument, kms::options{}.actor(""));
}

TEST(a_long_change_log_is_complete) {
    const auto ks = in_memory();
    const std::size_t wanted = 2 * kms::list<kms::logged_change>::page_size;
    for (std::size_t i = 0; i < wanted; ++i) {
        ks.create_key();
    }
    const auto changes = ks.changes();
    CHECK(std::distance(changes.begin(), changes.end()) == std::ptrdiff_t(wanted));
}

TEST(lists_of_every_length_are_complete) {
    for (const std::size_t wanted : {0, 1, 127, 128, 129, 256}) {
        const auto ks = in_memory();
        std::vector<std::string> made;
        for (std::size_t i = 0; i < wanted; ++i) {
            made.push_back(ks.create_key());
        }
        std::sort(made.begin(), made.end());
        std::vector<std::string> seen;
        for (const auto &key : ks.keys()) {
            seen.push_back(key.key_id);
        }
        CHECK(seen == made);
    }
}

TEST(an_iterator_is_one_of_the_standard_library) {
    const auto ks = in_memory();
    const auto a = ks.create_key();
    const auto b = ks.create_key();
    const auto keys = ks.keys();
    CHECK(std::distance(keys.begin(), keys.end()) == 2);
    CHECK(std::count_if(keys.begin(), keys.end(), [&](const auto &key) { return key.key_id == a || key.key_id == b; }) == 2);
    auto it = keys.begin();
    const auto first = it++;
    CHECK((*first).key_id == std::min(a, b) && it->key_id == std::max(a, b));
    CHECK(++it == keys.end());
}

TEST(copies_of_an_iterator_move_together_and_never_leave_the_list) {
    const auto ks = in_memory();
    for (std::size_t i = 0; i < kms::list<kms::key_metadata>::page_size + 1; ++i) {
        static_cast<void>(ks.create_key());
    }
    const auto keys = ks.keys();
    auto it = keys.begin();
    const auto copy = it;
    for (std::size_t i = 0; i < kms::list<kms::key_metadata>::page_size; ++i) {
        ++it;
    }
    CHECK(copy->key_id == it->key_id && copy == it);
    CHECK(++it == keys.end() && copy == keys.end());
    CHECK_THROWS(std::out_of_range, *copy);
    CHECK_THROWS(std::out_of_range, *it);
    CHECK(++it == keys.end());
}

TEST(a_list_that_threw_is_at_its_end) {
    int read = 0;
    const kms::list<int> broken([&](const int *after, kms::list<int>::page &page) -> kms_status {
        if (++read > 1) {
            CHECK(after != nullptr && *after == 127);
            throw std::runtime_error("no second page");
        }
        for (int i = 0; i < 128; ++i) {
            page.add([&] { return i; });
        }
        return KMS_OK;
    });
    int seen = 0;
    auto it = broken.begin();
    CHECK_THROWS(std::runtime_error, [&] {
        for (; it != broken.end(); ++it) {
            CHECK(*it == seen++);
        }
    }());
    CHECK(seen == 128 && it == broken.end());
    // Out of the loop by an exception.
    read = 0;
    try {
        for (const int value : broken) {
            throw value;
        }
    } catch (int) {
    }
}

template <class Keystore, class = void>
constexpr bool lists = false;
template <class Keystore>
constexpr bool lists<Keystore, std::void_t<decltype(std::declval<Keystore>().keys())>> = true;
static_assert(lists<kms::keystore &> && lists<const kms::keystore &>);
static_assert(!lists<kms::keystore>, "for (auto &key : open(...).keys()) would walk a closed keystore");

TEST(a_list_never_reads_a_closed_keystore) {
    auto ks = in_memory();
    const auto id = ks.create_key();
    for (std::size_t i = 0; i < kms::list<kms::key_metadata>::page_size; ++i) {
        ks.create_alias(id, "alias/" + std::to_string(i));
        ks.rotate(ks.create_key());
        ks.rotate(id);
    }
    const auto keys = ks.keys();
    const auto aliases = ks.aliases();
    const auto versions = ks.key_versions(id);
    std::size_t seen = 0;
    CHECK_THROWS(kms::invalid_argument, [&] {
        for (const auto &key : keys) {
            ++seen;
            CHECK(key.key_id.size() == kms::id_length);
            ks.close();
        }
    }());
    CHECK(seen == kms::list<kms::key_metadata>::page_size);
    CHECK_THROWS(kms::invalid_argument, keys.begin());
    CHECK_THROWS(kms::invalid_argument, aliases.begin());
    CHECK_THROWS(kms::invalid_argument, versions.begin());
    CHECK_THROWS(kms::invalid_argument, ks.keys().begin());
}

TEST(a_list_follows_a_keystore_that_is_moved) {
    auto first = in_memory();
    static_cast<void>(first.create_key());
    const auto keys = first.keys();
    auto second = std::move(first);
    CHECK(std::distance(keys.begin(), keys.end()) == 1);
    second = in_memory();
    CHECK_THROWS(kms::invalid_argument, keys.begin());
}

TEST(an_empty_callback_is_refused_where_it_is_given) {
    kms::options options;
    CHECK_THROWS(kms::invalid_argument, options.on_event(nullptr));
    CHECK_THROWS(kms::invalid_argument, options.clock({}));
    CHECK_THROWS(kms::invalid_argument, options.root_callback(nullptr, nullptr));
    CHECK_THROWS(kms::invalid_argument, options.anchor_callback([] { return kms::bytes(); }, nullptr));
}

TEST(a_clock_that_always_throws_stands_at_the_systems_time) {
    const auto ks =
        kms::keystore::open("memory:", kms::options{}.root_key(root_key).clock([]() -> kms::time_point { throw 1; }));
    const auto id = ks.create_key();
    CHECK(std::chrono::abs(ks.describe_key(id).creation_date - std::chrono::system_clock::now()) < 1h);
}

TEST(aliases_name_keys_and_move) {
    const auto ks = in_memory();
    const auto one = ks.create_key();
    const auto two = ks.create_key();
    ks.create_alias(one, "alias/orders");
    ks.create_alias(two, "alias/bills");
    CHECK(ks.inspect(ks.encrypt("alias/orders", "")).key_id == one);
    ks.update_alias(two, "alias/orders");
    CHECK(ks.inspect(ks.encrypt("alias/orders", "")).key_id == two);
    std::vector<std::string> names;
    for (const auto &alias : ks.aliases()) {
        names.push_back(alias.name + "=" + alias.key_id);
    }
    CHECK((names == std::vector<std::string>{"alias/bills=" + two, "alias/orders=" + two}));
    CHECK(ks.aliases(one).begin() == ks.aliases(one).end());
    ks.delete_alias("alias/orders");
    CHECK_THROWS(kms::alias_not_found, ks.delete_alias("alias/orders"));
    CHECK_THROWS(kms::alias_already_exists, ks.create_alias(one, "alias/bills"));
    CHECK_THROWS(kms::unsupported_alias, ks.disable_key("alias/bills"));
    for (int i = 0; i < 300; ++i) {
        ks.create_alias(one, "alias/" + std::to_string(i));
    }
    const auto all = ks.aliases(one);
    CHECK(std::distance(all.begin(), all.end()) == 300);
}

TEST(tags_are_set_listed_and_removed) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    ks.tag_resource(id, {{"team", "blue"}, {"stage", ""}});
    ks.tag_resource(id, std::map<std::string, std::string>{{"stage", "live"}});
    const auto found = ks.resource_tags(id);
    CHECK(found.size() == 2 && found[0].name == "stage" && found[0].value == "live" && found[1].name == "team");
    ks.untag_resource(id, {"team", "nothing"});
    CHECK(ks.resource_tags(id).size() == 1);
    CHECK_THROWS(kms::invalid_argument, ks.tag_resource(id, {{"a b", ""}}));
    CHECK_THROWS(kms::key_not_found, ks.resource_tags("nothing"));
}

TEST(material_is_imported_expires_and_comes_back) {
    manual_clock clock;
    const auto ks = in_memory(clock);
    const auto id = ks.create_key(kms::create_key_options{}.origin(kms::key_origin::external));
    CHECK(ks.describe_key(id).state == kms::key_state::pending_import);
    CHECK(ks.describe_key(id).primary_version_id.empty());
    CHECK_THROWS(kms::rejected_pending_import, ks.encrypt(id, ""));
    const auto given = ks.get_parameters_for_import(id, kms::wrapping::oaep_sha_256);
    CHECK(!given.public_key.empty() && !given.token.empty() && given.expires == clock.now + day);
    CHECK_THROWS(kms::invalid_key_material, ks.import_key_material(id, kms::bytes(256, 1), given.token));
    CHECK_THROWS(kms::invalid_import_token, ks.import_key_material(id, kms::bytes(256, 1), "token"));
    const kms::bytes material(32, 7);
    ks.import_raw_key_material(id, material, clock.now + 1h + 999ms);
    CHECK(ks.describe_key(id).material_expire_date == clock.now + 1h);
    const auto blob = ks.encrypt(id, "text");
    clock.now += 2h;
    CHECK_THROWS(kms::rejected_pending_import, ks.decrypt(blob));
    ks.import_raw_key_material(id, material);
    CHECK(text_of(ks.decrypt(blob)) == "text" && !ks.describe_key(id).material_expire_date);
    ks.delete_key_material(id);
    CHECK_THROWS(kms::rejected_pending_import, ks.decrypt(blob));
}

TEST(json_goes_in_and_out_and_an_error_keeps_its_body) {
    const auto ks = in_memory();
    const auto made = ks.call("CreateKey");
    CHECK(made.find("KeyId") != std::string::npos);
    CHECK(ks.call("ListKeys", "{}").find("KeyId") != std::string::npos);
    try {
        ks.call("DescribeKey", R"({"KeyId":"00000000-0000-4000-8000-000000000000"})");
        CHECK(!"a key that isn't there is described");
    } catch (const kms::key_not_found &thrown) {
        CHECK(thrown.response().find("Forbidden.KeyNotFound") != std::string_view::npos);
        const auto copy = thrown;
        CHECK(copy.response() == thrown.response());
    }
    CHECK_THROWS(kms::unknown_action, ks.call("DrinkTea"));
}

TEST(the_library_is_the_one_of_the_headers) { CHECK(kms::version() == VERSION); }

TEST(keys_are_made_by_the_hundred_or_not_at_all) {
    const auto ks = in_memory();
    const auto made = ks.create_keys(100, kms::create_key_options{}.rotate_every(day));
    CHECK(made.size() == 100 && std::set<std::string>(made.begin(), made.end()).size() == 100);
    CHECK(ks.describe_key(made[99]).rotation_interval == day);
    CHECK_THROWS(kms::invalid_argument, ks.create_keys(0));
    CHECK_THROWS(kms::invalid_argument, ks.create_keys(std::size_t(-1)));
}

TEST(each_record_of_a_batch_has_its_own_outcome) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    const auto sealed = ks.encrypt_batch(id, {{"one", {{"row", "1"}}}, {"", {}}, {"bad", {{"", "empty key"}}}});
    CHECK(sealed.size() == 3 && sealed[0] && sealed[1] && sealed[2].status() == kms::status::invalid_argument);
    CHECK_THROWS(kms::invalid_argument, sealed[2].value());
    ks.rotate(id);
    const auto moved = ks.reencrypt_batch(id, {{sealed[0].value(), {{"row", "1"}}, {{"row", "2"}}}, {"no blob"}});
    CHECK(moved[0] && ks.inspect(moved[0].value()).is_primary && moved[1].status() == kms::status::malformed_ciphertext);
    const auto own = ks.reencrypt_batch(std::nullopt, {{moved[0].value(), {{"row", "2"}}, {{"row", "2"}}}});
    CHECK(ks.inspect(own[0].value()).key_id == id);
    const auto opened = ks.decrypt_batch({{moved[0].value(), {{"row", "2"}}}, {sealed[1].value()}, {moved[0].value()}});
    CHECK(text_of(opened[0].value()) == "one" && opened[1].value().empty());
    CHECK(opened[2].status() == kms::status::authentication_failed);
    CHECK_THROWS(kms::authentication_failed, opened[2].value());
    CHECK_THROWS(kms::key_not_found, ks.encrypt_batch("nothing", {{"text"}}));
    CHECK(ks.decrypt_batch({}).empty());
}
