/// The encryption context: a map that binds a ciphertext to its place.
#pragma once

#include <kms/text.hpp>

namespace kms {

/// Pairs of texts in UTF-8, in any order: `{{"tenant", "42"}, {"table", "orders"}}`, a `std::map` of texts, or `add`. The
/// same map must be passed again to decrypt; it isn't in the ciphertext. An empty value is fine, an empty or double key
/// is not.
using context = detail::text_map<kms_context_entry>;

}  // namespace kms
