/// Opening, closing, moving; the functions of the program that the library calls.
#include "check.hpp"

#include <fstream>
#include <iterator>
#include <thread>

static_assert(!std::is_copy_constructible_v<kms::keystore> && !std::is_copy_assignable_v<kms::keystore>);
static_assert(std::is_nothrow_move_constructible_v<kms::keystore> && std::is_nothrow_move_assignable_v<kms::keystore>);
static_assert(!std::is_copy_constructible_v<kms::options> && std::is_nothrow_move_constructible_v<kms::options>);

TEST(the_first_lines_of_the_manual_work) {
    auto ks = kms::keystore::open("first.db", kms::options{}.root_key_file("first.key").create(true));
    auto id = ks.create_key(kms::create_key_options{}.description("orders").rotate_every(90 * day));
    auto blob = ks.encrypt(id, "4111 1111", {{"tenant", "42"}});
    CHECK(text_of(ks.decrypt(blob, {{"tenant", "42"}})) == "4111 1111");
    CHECK_THROWS(kms::authentication_failed, ks.decrypt(blob, {{"tenant", "43"}}));
    CHECK_THROWS(kms::authentication_failed, ks.decrypt(blob));
}

TEST(a_keystore_stays_when_its_object_goes) {
    std::string id;
    kms::bytes blob;
    {
        const auto ks = kms::keystore::open("again.db", kms::options{}.root_key(root_key).create(true));
        id = ks.create_key();
        blob = ks.encrypt(id, "kept");
    }
    CHECK_THROWS(kms::wrong_root_key,
                 kms::keystore::open("again.db", kms::options{}.root_key("another key of exactly 32 bytes!")));
    const auto ks = kms::keystore::open("again.db", kms::options{}.root_key(root_key).read_only(true));
    CHECK(text_of(ks.decrypt(blob)) == "kept");
    CHECK_THROWS(kms::keystore_read_only, ks.rotate(id));
    CHECK(ks.health().has(kms::health_flag::read_only));
}

TEST(opening_fails_with_the_reason) {
    CHECK_THROWS(kms::keystore_not_found, kms::keystore::open("nowhere.db", kms::options{}.root_key(root_key)));
    CHECK_THROWS(kms::missing_parameter, kms::keystore::open("memory:", kms::options{}));
    CHECK_THROWS(kms::invalid_argument, kms::options{}.root_key("too short"));
    CHECK_THROWS(kms::invalid_argument, kms::keystore::open(std::string_view("a\0b", 3), kms::options{}.root_key(root_key)));
    CHECK_THROWS(kms::invalid_argument, kms::options{}.cache_keys(0));
    CHECK_THROWS(kms::invalid_argument, kms::options{}.busy_timeout(-1ms));
    CHECK_THROWS(kms::invalid_argument, kms::options{}.poll_interval(9ms));
    CHECK_THROWS(kms::invalid_argument, kms::options{}.offline_limit(-1s));
    CHECK_THROWS(kms::invalid_argument, kms::options{}.require_backup(kms::backup_wait_max + 1s));
    CHECK_THROWS(kms::root_key_unavailable, kms::keystore::open("no.db", kms::options{}.root_key_file("no/key").create(true)));
}

TEST(options_serve_more_than_one_keystore) {
    auto options = kms::options{}
                       .root_key(root_key)
                       .cache_keys(10)
                       .require_backup(kms::backup_wait_default)
                       .busy_timeout(100ms)
                       .poll_interval(250ms)
                       .offline_limit(60s)
                       .accept_rollback(false)
                       .anchor_strict(false)
                       .rotation_thread(false);
    options.create(true).read_only(false);
    const auto moved = std::move(options);
    const auto one = kms::keystore::open("one.db", moved);
    const auto two = kms::keystore::open("two.db", moved);
    CHECK_THROWS(kms::key_not_found, two.describe_key(one.create_key()));
    CHECK(one.health().has(kms::health_flag::no_rotation_thread));
}

TEST(a_moved_keystore_works_and_the_empty_one_says_so) {
    auto first = in_memory();
    const auto id = first.create_key();
    auto second = std::move(first);
    CHECK(!first.is_open() && second.is_open());
    CHECK(first.native_handle() == nullptr);
    CHECK_THROWS(kms::invalid_argument, first.create_key());
    CHECK(second.describe_key(id).key_id == id);
    first = std::move(second);
    CHECK(first.describe_key(id).key_id == id);
    auto &same = first;
    first = std::move(same);
    CHECK(first.is_open());
    first = in_memory();
    CHECK_THROWS(kms::key_not_found, first.describe_key(id));
    first.close();
    first.close();
    CHECK_THROWS(kms::invalid_argument, first.describe_key(id));
}

TEST(a_passphrase_opens_what_it_made) {
    kms::bytes blob;
    {
        const auto ks = kms::keystore::open("pass.db", kms::options{}.root_passphrase("correct horse").create(true));
        blob = ks.encrypt(ks.create_key(), "text");
    }
    CHECK(text_of(kms::keystore::open("pass.db", kms::options{}.root_passphrase("correct horse")).decrypt(blob)) == "text");
}

TEST(functions_of_the_program_wrap_the_root_key) {
    int wrapped = 0;
    int unwrapped = 0;
    const auto wrap = [&](kms::bytes_view in, kms::bytes_view aad) {
        ++wrapped;
        CHECK(kms::as_text(aad).find("libkms root key of keystore ") == 0);
        kms::bytes out(aad.begin(), aad.end());
        out.insert(out.end(), in.begin(), in.end());
        return out;
    };
    const auto unwrap = [&](kms::bytes_view in, kms::bytes_view aad) {
        ++unwrapped;
        if (in.size() < aad.size() || !std::equal(aad.begin(), aad.end(), in.begin())) {
            throw std::runtime_error("wrapped for something else");
        }
        return kms::secret_bytes(in.begin() + static_cast<std::ptrdiff_t>(aad.size()), in.end());
    };
    const auto binds_nothing = [](kms::bytes_view in, kms::bytes_view) { return kms::bytes(in.begin(), in.end()); };
    const auto takes_all = [](kms::bytes_view in, kms::bytes_view) { return kms::secret_bytes(in.begin(), in.end()); };
    CHECK_THROWS(kms::root_key_unavailable,
                 kms::keystore::open("hsm.db", kms::options{}.root_callback(binds_nothing, takes_all).create(true)));
    kms::bytes blob;
    {
        const auto ks = kms::keystore::open("hsm.db", kms::options{}.root_callback(wrap, unwrap).create(true));
        blob = ks.encrypt(ks.create_key(), "text");
    }
    CHECK(wrapped == 1);
    unwrapped = 0;
    CHECK(text_of(kms::keystore::open("hsm.db", kms::options{}.root_callback(wrap, unwrap)).decrypt(blob)) == "text");
    CHECK(unwrapped == 1);
}

TEST(what_a_wrapping_function_throws_comes_out_of_open) {
    struct hsm_is_away : std::runtime_error {
        using std::runtime_error::runtime_error;
    };
    const auto options =
        kms::options{}
            .root_callback([](kms::bytes_view, kms::bytes_view) -> kms::bytes { throw hsm_is_away("no answer"); },
                           [](kms::bytes_view, kms::bytes_view) { return kms::secret_bytes(); })
            .create(true);
    CHECK_THROWS(hsm_is_away, kms::keystore::open("away.db", options));
    const auto too_long = [](kms::bytes_view, kms::bytes_view) { return kms::bytes(1 << 20); };
    const auto nothing = [](kms::bytes_view, kms::bytes_view) { return kms::secret_bytes(); };
    CHECK_THROWS(kms::root_key_unavailable,
                 kms::keystore::open("away.db", kms::options{}.root_callback(too_long, nothing).create(true)));
}

TEST(events_tell_what_happened) {
    std::vector<std::pair<kms::event_kind, std::string>> seen;
    manual_clock clock;
    auto ks = kms::keystore::open(
        "memory:", kms::options{}.root_key(root_key).clock(clock.reader()).on_event([&](const kms::event &e) {
            seen.emplace_back(e.kind, e.key_id);
            CHECK(e.waited.count() == 0);
            CHECK(e.time == clock.now && e.status == kms::status::ok && e.version_id.size() == kms::id_length);
            throw std::runtime_error("an event must not cross C");
        }));
    const auto id = ks.create_key();
    ks.rotate(id);
    CHECK(seen.size() == 1 && seen[0].first == kms::event_kind::rotated && seen[0].second == id);
    auto moved = std::move(ks);
    moved.rotate(id);
    CHECK(seen.size() == 2);
}

TEST(a_clock_that_throws_stands_still) {
    manual_clock clock;
    bool broken = false;
    const auto ks = kms::keystore::open("memory:", kms::options{}.root_key(root_key).clock([&] {
        if (broken) {
            throw std::runtime_error("no time");
        }
        return clock.now;
    }));
    const auto created = ks.describe_key(ks.create_key()).creation_date;
    broken = true;
    clock.now += day;
    CHECK(ks.describe_key(ks.create_key()).creation_date == created);
}

TEST(one_keystore_serves_all_threads) {
    const auto ks = in_memory();
    const auto id = ks.create_key();
    std::vector<std::thread> threads;
    std::atomic<int> good{0};
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int k = 0; k < 100; ++k) {
                good += text_of(ks.decrypt(ks.encrypt(id, "text"))) == "text";
            }
        });
    }
    ks.rotate(id);
    for (auto &each : threads) {
        each.join();
    }
    CHECK(good == 400);
}

TEST(an_older_copy_of_a_keystore_with_an_anchor_is_refused) {
    const auto copy = [](const char *from, const char *to) {
        std::ofstream(to, std::ios::binary) << std::ifstream(from, std::ios::binary).rdbuf();
    };
    const auto anchored = [] { return kms::options{}.root_key(root_key).anchor_file("anchor").create(true); };
    kms::keystore::open("anchored.db", anchored()).create_key();
    copy("anchored.db", "older.db");
    kms::keystore::open("anchored.db", anchored()).create_key();
    copy("older.db", "anchored.db");
    CHECK_THROWS(kms::keystore_rolled_back, kms::keystore::open("anchored.db", anchored()));
}

TEST(functions_of_the_program_keep_the_anchor) {
    kms::bytes record;
    bool broken = false;
    const auto get = [&] { return record; };
    const auto put = [&](kms::bytes_view newest) {
        if (broken) {
            throw std::runtime_error("no TPM");
        }
        record.assign(newest.begin(), newest.end());
    };
    const auto ks = kms::keystore::open("tpm.db", kms::options{}.root_key(root_key).anchor_callback(get, put).create(true));
    const auto first = record;
    ks.create_key();
    CHECK(!first.empty() && record.size() == first.size() && record != first);
    broken = true;
    CHECK_THROWS(kms::anchor_unavailable, ks.create_key());
}

TEST(a_sound_keystore_has_no_faults_and_a_changed_one_shows_them) {
    {
        const auto ks = kms::keystore::open("verify.db", kms::options{}.root_key(root_key).create(true));
        ks.update_key_description(ks.create_key(), "a description to be changed");
        CHECK(ks.verify().empty());
    }
    std::fstream file("verify.db", std::ios::binary | std::ios::in | std::ios::out);
    const std::string all((std::istreambuf_iterator<char>(file)), {});
    const auto at = all.find("a description to be changed");
    CHECK(at != std::string::npos);
    file.seekp(static_cast<std::streamoff>(at)).put('A');
    file.close();
    const auto faults = kms::keystore::open("verify.db", kms::options{}.root_key(root_key)).verify();
    CHECK(!faults.empty() && faults[0].status == kms::status::keystore_corrupt && !faults[0].text.empty());
}

TEST(a_backup_is_a_keystore_and_replaces_no_file) {
    const auto ks = kms::keystore::open("original.db", kms::options{}.root_key(root_key).create(true));
    const auto id = ks.create_key();
    const auto blob = ks.encrypt(id, "x");
    ks.backup("copy.db");
    CHECK_THROWS(kms::keystore_io, ks.backup("copy.db"));
    const auto copy = kms::keystore::open("copy.db", kms::options{}.root_key(root_key));
    CHECK(copy.decrypt(blob).size() == 1);
}

TEST(a_keystore_is_opened_by_its_new_root_alone) {
    const auto wrap = [](kms::bytes_view, kms::bytes_view) -> kms::bytes { throw std::runtime_error("no HSM"); };
    const auto unwrap = [](kms::bytes_view, kms::bytes_view) -> kms::secret_bytes { throw std::runtime_error("no HSM"); };
    kms::bytes blob;
    {
        const auto ks = kms::keystore::open("root.db", kms::options{}.root_key(root_key).create(true));
        blob = ks.encrypt(ks.create_key(), "x");
        CHECK_THROWS(std::runtime_error, ks.change_root(kms::options{}.root_callback(wrap, unwrap)));
        ks.change_root(kms::options{}.root_passphrase("a passphrase"));
    }
    CHECK_THROWS(kms::wrong_root_key, kms::keystore::open("root.db", kms::options{}.root_key(root_key)));
    const auto ks = kms::keystore::open("root.db", kms::options{}.root_passphrase("a passphrase"));
    CHECK(ks.decrypt(blob).size() == 1);
}

TEST(several_roots_open_a_keystore) {
    const auto recovery = kms::options{}.root_passphrase("correct horse");
    kms::bytes blob;
    std::string slot_id;
    {
        const auto ks = kms::keystore::open("slots.db", kms::options{}.root_key(root_key).create(true));
        blob = ks.encrypt(ks.create_key(), "x");
        slot_id = ks.add_root_slot(recovery, "recovery");
        CHECK_THROWS(kms::root_slot_exists, ks.add_root_slot(recovery));
        CHECK_THROWS(kms::root_slot_exists, ks.change_root(recovery));
        CHECK_THROWS(kms::invalid_argument, ks.add_root_slot(recovery, std::string_view("a\0b", 3)));
        const auto slots = ks.root_slots();
        CHECK(slots.size() == 2 && slots.size() <= kms::max_root_slots);
        CHECK(slots[0].kind == kms::root_kind::key && slots[0].opened_this_handle && !slots[0].label);
        CHECK(slots[1].kind == kms::root_kind::passphrase && !slots[1].opened_this_handle);
        CHECK(slots[1].slot_id == slot_id && slots[1].label == "recovery" && slots[1].creation_date);
        ks.remove_root_slot(slots[0].slot_id);
        CHECK_THROWS(kms::root_slot_not_found, ks.remove_root_slot(slots[0].slot_id));
        CHECK_THROWS(kms::unsupported_operation, ks.remove_root_slot(slot_id));
    }
    CHECK_THROWS(kms::wrong_root_key, kms::keystore::open("slots.db", kms::options{}.root_key(root_key)));
    CHECK(kms::keystore::open("slots.db", recovery).decrypt(blob).size() == 1);
}
