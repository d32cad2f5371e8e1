/// Every operation by its action name, with JSON: docs/actions.md lists them, and so does the action ListActions.
#pragma once

#include <kms/text.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace kms::detail {

/// The call of `keystore` that takes and returns JSON.
template <class Keystore>
class json_calls {
public:
    /// Carries out an action ("Encrypt") with a JSON object of its parameters, and returns the response. A failure is thrown
    /// as always; `error::response()` then has the service's error body. Unlike `decrypt`, its result isn't wiped.
    std::string call(std::string_view action, std::string_view request_json = {}) const {
        struct free_string {
            void operator()(char *text) const noexcept { kms_string_free(text); }
        };
        char *response = nullptr;
        const kms_status returned = kms_call(raw(), c_text(action), c_text(request_json), &response);
        const std::unique_ptr<char, free_string> owned(response);
        if (returned != KMS_OK) {
            const std::string why = last_error();
            raise(static_cast<status>(returned), why, response == nullptr ? "" : response);
        }
        return response;
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }
};

}  // namespace kms::detail
