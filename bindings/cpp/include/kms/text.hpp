/// Texts on their way into C: ended by a NUL, and refused where they hold one.
#pragma once

#include <kms/status.hpp>

#include <array>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace kms::detail {

inline void refuse_nul(std::string_view text) {
    if (text.find('\0') != std::string_view::npos) {
        throw invalid_argument("a text holds a NUL");
    }
}

/// A text ended by a NUL, for one call; ids and most names need no allocation.
class c_text {
public:
    c_text(std::string_view text) {
        refuse_nul(text);
        char *place = small_.data();
        if (text.size() >= small_.size()) {
            large_ = std::make_unique<char[]>(text.size() + 1);
            place = large_.get();
        }
        text.copy(place, text.size());
        place[text.size()] = '\0';
        data_ = place;
    }
    c_text(const c_text &) = delete;
    c_text &operator=(const c_text &) = delete;

    operator const char *() const noexcept { return data_; }

private:
    std::array<char, 64> small_;
    std::unique_ptr<char[]> large_;
    const char *data_;
};

/// Pairs of texts, as an array of C's `Entry`: what `context` and `tags` are.
template <class Entry>
class text_map {
public:
    struct pair {
        std::string_view first;
        std::string_view second;
    };

    text_map() = default;
    text_map(std::initializer_list<pair> pairs) {
        for (const pair &entry : pairs) {
            add(entry.first, entry.second);
        }
    }
    /// From a map, or any other range of pairs of texts.
    template <class Range, class = std::enable_if_t<std::is_convertible_v<
                               decltype(std::begin(std::declval<const Range &>())->second), std::string_view>>>
    text_map(const Range &range) {
        for (const auto &entry : range) {
            add(entry.first, entry.second);
        }
    }

    text_map &add(std::string_view first, std::string_view second) {
        refuse_nul(first);
        refuse_nul(second);
        // Nothing below throws, so that no text is ever without its partner.
        texts_.reserve(texts_.size() + first.size() + second.size() + 2);
        texts_.append(first).push_back('\0');
        texts_.append(second).push_back('\0');
        ++size_;
        return *this;
    }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

    /// C's array, valid until this object changes.
    [[nodiscard]] std::vector<Entry> entries() const {
        std::vector<Entry> made;
        made.reserve(size_);
        const char *at = texts_.data();
        for (std::size_t i = 0; i < size_; ++i) {
            const char *second = at + std::strlen(at) + 1;
            made.push_back({at, second});
            at = second + std::strlen(second) + 1;
        }
        return made;
    }

private:
    std::string texts_;
    std::size_t size_ = 0;
};

}  // namespace kms::detail
