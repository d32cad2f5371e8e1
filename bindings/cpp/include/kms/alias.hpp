/// Aliases: other names of keys, "alias/NAME".
#pragma once

#include <kms/list.hpp>
#include <kms/text.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace kms {

struct alias {
    std::string name;  ///< with "alias/"
    std::string key_id;
};

namespace detail {

/// The calls of `keystore` about aliases.
template <class Keystore>
class alias_calls {
public:
    void create_alias(std::string_view key_id, std::string_view name) const {
        check(kms_create_alias(raw(), c_text(key_id), c_text(name)));
    }
    /// Moves an alias to another key; old ciphertexts still decrypt under theirs.
    void update_alias(std::string_view key_id, std::string_view name) const {
        check(kms_update_alias(raw(), c_text(key_id), c_text(name)));
    }
    void delete_alias(std::string_view name) const { check(kms_delete_alias(raw(), c_text(name))); }

    /// All aliases, in the order of their names.
    [[nodiscard]] list<alias> aliases() const && = delete;  // the list reads on while it is walked
    [[nodiscard]] list<alias> aliases() const & { return aliases_of(std::nullopt); }
    /// Those of one key.
    [[nodiscard]] list<alias> aliases(std::string_view key_id) const && = delete;
    [[nodiscard]] list<alias> aliases(std::string_view key_id) const & {
        refuse_nul(key_id);
        return aliases_of(std::string(key_id));
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }
    list_source source() const noexcept { return static_cast<const Keystore &>(*this).source_of_lists(); }

    list<alias> aliases_of(std::optional<std::string> key_id) const {
        return list<alias>([source = source(), key_id = std::move(key_id)](const alias *after, list<alias>::page &page) {
            const auto visit = [](void *user, const char *name, const char *key) {
                return static_cast<list<alias>::page *>(user)->add([&] { return alias{name, key}; });
            };
            return kms_list_aliases(source.open().get(), key_id ? key_id->c_str() : nullptr,
                                    after == nullptr ? nullptr : after->name.c_str(), list<alias>::page_size, visit, &page);
        });
    }
};

}  // namespace detail

}  // namespace kms
