/// Times and intervals: std::chrono outside, Unix milliseconds in C.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace kms {

/// A date, to the millisecond.
using time_point = std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;

namespace detail {

[[nodiscard]] inline time_point from_ms(std::int64_t unix_ms) noexcept {
    return time_point(std::chrono::milliseconds(unix_ms));
}

/// In C, 0 says that there is no date.
[[nodiscard]] inline std::optional<time_point> from_optional_ms(std::int64_t unix_ms) noexcept {
    return unix_ms == 0 ? std::nullopt : std::optional(from_ms(unix_ms));
}

[[nodiscard]] inline std::int64_t to_ms(time_point time) noexcept { return time.time_since_epoch().count(); }

[[nodiscard]] inline std::int64_t to_s(std::optional<std::chrono::system_clock::time_point> time) noexcept {
    return time ? std::chrono::floor<std::chrono::seconds>(*time).time_since_epoch().count() : 0;
}

}  // namespace detail

}  // namespace kms
