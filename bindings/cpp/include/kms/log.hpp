/// The change log: who changed what, and when.
#pragma once

#include <kms/list.hpp>
#include <kms/text.hpp>
#include <kms/time.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kms {

/// Who made a change.
struct actor {
    std::uint32_t process_id;
    std::uint32_t user_id;             ///< the real user
    std::string program;               ///< the file name; empty where the kernel does not show it
    std::optional<std::string> label;  ///< of `options::actor`
};

/// An entry of the change log: one change of the keystore, or one management call that was refused.
struct logged_change {
    std::uint64_t generation;  ///< that the entry made; the next entry has the next one
    std::string change_id;
    time_point time;
    std::chrono::milliseconds since_boot;  ///< time asleep included
    kms::actor actor;
    std::string action;                     ///< as docs/actions.md has it, or by the clock, such as "RotateKeyAuto"
    kms::status status;                     ///< `ok` for a change; for a refused call what it failed with
    std::optional<std::string> key_id;      ///< of an entry about one key
    std::optional<std::string> version_id;  ///< of an entry about one version
    std::uint64_t count;                    ///< how many keys it concerned; for "CutChanges", how many entries it removed
    std::uint64_t refusals_omitted;         ///< refused calls of the same handle before this entry that have none of their own
    std::chrono::milliseconds waited;       ///< how long a destroyed key or version waited; else 0
    std::array<std::uint8_t, 32> mac;       ///< the keyed hash of this entry and of `previous_mac`
    std::array<std::uint8_t, 32> previous_mac;  ///< the `mac` of the entry before
};

/// Which entries `keystore::changes` shows. All conditions must hold.
struct change_filter {
    std::optional<std::string> key_id;   ///< only those of this key, which need not exist any more
    std::optional<time_point> from;      ///< only those of this time or later
    std::optional<time_point> to;        ///< only those before this time
    std::uint64_t after_generation = 0;  ///< only later ones: to continue, pass the generation of the last entry seen
};

namespace detail {

inline logged_change from_c(const kms_logged_change &c) {
    const auto text = [](const char *maybe) { return maybe == nullptr ? std::nullopt : std::optional<std::string>(maybe); };
    logged_change made{c.generation,
                       c.change_id,
                       from_ms(c.time_ms),
                       std::chrono::milliseconds(c.boot_ms),
                       {c.process_id, c.user_id, c.program, text(c.actor)},
                       c.action,
                       static_cast<status>(c.status),
                       text(c.key_id),
                       text(c.version_id),
                       c.count,
                       c.refusals_omitted,
                       std::chrono::milliseconds(c.waited_ms),
                       {},
                       {}};
    std::copy_n(c.mac, made.mac.size(), made.mac.begin());
    std::copy_n(c.previous_mac, made.previous_mac.size(), made.previous_mac.begin());
    return made;
}

/// The calls of `keystore` about the change log.
template <class Keystore>
class log_calls {
public:
    /// The entries of the change log, oldest first. Each change has one, and refused management calls have one each, up to 10
    /// a second. The log is checked as it is read: `keystore_corrupt` for an entry that was altered, moved or removed.
    [[nodiscard]] list<logged_change>
    changes(change_filter which = {}) const && = delete;  // the list reads on while it is walked
    [[nodiscard]] list<logged_change> changes(change_filter which = {}) const & {
        refuse_nul(which.key_id.value_or(""));
        return list<logged_change>(
            [source = source(), which = std::move(which)](const logged_change *after, list<logged_change>::page &page) {
                const auto visit = [](void *user, const kms_logged_change *change) {
                    return static_cast<list<logged_change>::page *>(user)->add([&] { return from_c(*change); });
                };
                return kms_list_changes(source.open().get(), which.key_id ? which.key_id->c_str() : nullptr,
                                        which.from ? to_ms(*which.from) : 0, which.to ? to_ms(*which.to) : 0,
                                        after == nullptr ? which.after_generation : after->generation,
                                        list<logged_change>::page_size, visit, &page);
            });
    }

    /// Removes the entries that are older than `before`, and returns how many there were. The rest continues from a
    /// checkpoint, and the cut has an entry.
    std::uint64_t cut_changes(time_point before) const {
        std::uint64_t removed = 0;
        check(kms_cut_changes(static_cast<const Keystore &>(*this).native_handle(), to_ms(before), &removed));
        return removed;
    }

private:
    list_source source() const noexcept { return static_cast<const Keystore &>(*this).source_of_lists(); }
};

}  // namespace detail

}  // namespace kms
