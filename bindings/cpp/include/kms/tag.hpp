/// Tags: labels of keys.
#pragma once

#include <kms/text.hpp>

#include <cstdint>
#include <exception>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace kms {

struct tag {
    std::string name;
    std::string value;
};

/// Tags on their way in: `{{"team", "blue"}, {"stage", "live"}}`, or a `std::map` of texts.
using tags = detail::text_map<kms_tag>;

namespace detail {

/// The calls of `keystore` about tags.
template <class Keystore>
class tag_calls {
public:
    /// Sets tags; a name that the key has already gets the new value. At most 10 a key.
    void tag_resource(std::string_view key_id, const tags &set) const {
        const auto entries = set.entries();
        check(kms_tag_resource(raw(), c_text(key_id), entries.data(), entries.size()));
    }

    /// Removes tags by name; a name that the key doesn't have is passed over.
    void untag_resource(std::string_view key_id, const std::vector<std::string> &names) const {
        std::vector<const char *> c;
        c.reserve(names.size());
        for (const std::string &name : names) {
            refuse_nul(name);
            c.push_back(name.c_str());
        }
        check(kms_untag_resource(raw(), c_text(key_id), c.data(), c.size()));
    }

    /// In the order of their names.
    [[nodiscard]] std::vector<tag> resource_tags(std::string_view key_id) const {
        struct found {
            std::vector<tag> tags;
            std::exception_ptr thrown;
        } all;
        const auto visit = [](void *user, const kms_tag *shown) noexcept -> std::int32_t {
            auto &into = *static_cast<found *>(user);
            try {
                into.tags.push_back({shown->name, shown->value});
                return 0;
            } catch (...) {
                into.thrown = std::current_exception();
                return 1;
            }
        };
        const kms_status returned = kms_list_resource_tags(raw(), c_text(key_id), visit, &all);
        if (all.thrown) {
            std::rethrow_exception(all.thrown);
        }
        check(returned);
        return std::move(all.tags);
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }
};

}  // namespace detail

}  // namespace kms
