/// A snapshot of the keystore in another file.
#pragma once

#include <kms/status.hpp>
#include <kms/text.hpp>

#include <string_view>

namespace kms {

namespace detail {

/// The call of `keystore` that writes a backup.
template <class Keystore>
class backup_calls {
public:
    /// Writes the keystore to a new file, complete and synced, or not at all; an existing file is never replaced. The
    /// root keys that open this keystore now open the copy.
    void backup(std::string_view path) const {
        check(kms_backup(static_cast<const Keystore &>(*this).native_handle(), c_text(path)));
    }
};

}  // namespace detail

}  // namespace kms
