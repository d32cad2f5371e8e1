/// The roots that open a keystore.
#pragma once

#include <kms/text.hpp>
#include <kms/time.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kms {

/// Most root slots of a keystore.
inline constexpr std::size_t max_root_slots = KMS_MAX_ROOT_SLOTS;

enum class root_kind : std::int32_t {
    key = KMS_ROOT_KEY,  ///< 32 bytes, given or from a file
    passphrase = KMS_ROOT_PASSPHRASE,
    callback = KMS_ROOT_CALLBACK,
};

/// One root that opens the keystore.
struct root_slot {
    std::string slot_id;
    root_kind kind;
    std::optional<time_point> creation_date;  ///< none if keystore format 1 made the slot
    std::optional<std::string> label;
    bool opened_this_handle;
};

namespace detail {

/// The calls of `keystore` about root slots that take no root; `keystore` itself has those that do.
template <class Keystore>
class root_calls {
public:
    /// Removes a root slot: its root opens the keystore no more. Open handles keep working. The last slot stays
    /// (`unsupported_operation`).
    void remove_root_slot(std::string_view slot_id) const { check(kms_remove_root_slot(raw(), c_text(slot_id))); }

    /// The roots that open the keystore, in the order in which they were added.
    [[nodiscard]] std::vector<root_slot> root_slots() const {
        struct collected {
            std::vector<root_slot> slots;
            std::exception_ptr thrown;
        } all;
        const auto visit = [](void *user, const kms_root_slot *slot) -> std::int32_t {
            auto &into = *static_cast<collected *>(user);
            try {
                root_slot shown{slot->slot_id, static_cast<root_kind>(slot->kind), from_optional_ms(slot->creation_date_ms),
                                std::nullopt, slot->opened_this_handle != 0};
                if (slot->label != nullptr) {
                    shown.label = slot->label;
                }
                into.slots.push_back(std::move(shown));
                return 0;
            } catch (...) {
                into.thrown = std::current_exception();
                return 1;
            }
        };
        check(kms_list_root_slots(raw(), visit, &all));
        if (all.thrown) {
            std::rethrow_exception(all.thrown);
        }
        return std::move(all.slots);
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }
};

}  // namespace detail

}  // namespace kms
